"""Columns with a CHECK on a list of values accept exactly the values that the program writes."""

import re
from typing import Any, get_args

import asyncpg
import pytest

from worker.delivery.job import JobState
from worker.domain.decision import Account, Fate
from worker.domain.objection import DecisionKind
from worker.domain.order import Operation, Phase
from worker.kafka.dead_letters import ReasonCode
from worker.ledger.waiting import WaitsFor
from worker.people.acting import Action, Through
from worker.people.dead_letters import Status

# Values that no row can have: the issuer is only debited, and facts without an effect on an order are not stored.
NEVER_STORED = {"ledger.entries.credit": {"issuer"}, "ledger.facts.fate": {"duplicate", "parked"}}
VALUES: dict[str, Any] = {
    "delivery.commands.operation": Operation,
    "delivery.commands.state": JobState,
    "delivery.dead_letters.reason": ReasonCode,
    "delivery.dead_letters.status": Status,
    "delivery.decisions.action": DecisionKind,
    "ledger.commands.operation": Operation,
    "ledger.dead_letters.reason": ReasonCode,
    "ledger.dead_letters.status": Status,
    "ledger.entries.credit": Account,
    "ledger.entries.debit": Account,
    "ledger.facts.fate": Fate,
    "ledger.orders.phase": Phase,
    "ledger.parked.waits_for": WaitsFor,
    "people.acts.action": Action,
    "people.acts.through": Through,
}
CHECKS = """
    SELECT c.conrelid::regclass || '.' || a.attname AS column, pg_get_constraintdef(c.oid) AS definition
    FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND c.conkey = ARRAY[a.attnum]
    WHERE c.contype = 'c' AND c.coninhcount = 0 AND c.connamespace IN (
            'delivery'::regnamespace, 'ledger'::regnamespace, 'people'::regnamespace)
        AND pg_get_constraintdef(c.oid) LIKE '%= ANY (ARRAY[%'
"""


@pytest.fixture(scope="module")
async def accepted(schema_url: str) -> dict[str, set[str]]:
    """The values that each enumerated column accepts."""
    connection = await asyncpg.connect(schema_url)
    rows = await connection.fetch(CHECKS)
    await connection.close()
    return {row["column"]: set(re.findall(r"'([^']+)'", row["definition"])) for row in rows}


async def test_every_enumerated_column_is_compared(accepted: dict[str, set[str]]):
    assert accepted.keys() == VALUES.keys()


@pytest.mark.parametrize("column", VALUES)
async def test_an_enumerated_column_accepts_exactly_the_values_of_the_program(
    accepted: dict[str, set[str]], column: str
):
    assert accepted[column] == set(get_args(VALUES[column])) - NEVER_STORED.get(column, set())
