"""A word that a table refuses is met in the middle of a cycle: the closed lists of tables and program are the same."""

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

# What no row can have: the shopper's bank only gives, and what has no effect on an order is no fact of it.
NEVER = {"ledger.entries.credit": {"issuer"}, "ledger.facts.fate": {"duplicate", "parked"}}
LISTS: dict[str, Any] = {
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
    SELECT c.conrelid::regclass || '.' || a.attname AS place, pg_get_constraintdef(c.oid) AS said
    FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND c.conkey = ARRAY[a.attnum]
    WHERE c.contype = 'c' AND c.coninhcount = 0 AND c.connamespace IN (
            'delivery'::regnamespace, 'ledger'::regnamespace, 'people'::regnamespace)
        AND pg_get_constraintdef(c.oid) LIKE '%= ANY (ARRAY[%'
"""


@pytest.fixture(scope="module")
async def taken(schema_url: str) -> dict[str, set[str]]:
    """Each column that takes a closed list of words, and these words."""
    connection = await asyncpg.connect(schema_url)
    rows = await connection.fetch(CHECKS)
    await connection.close()
    return {row["place"]: set(re.findall(r"'([^']+)'", row["said"])) for row in rows}


async def test_every_column_with_a_closed_list_is_compared(taken: dict[str, set[str]]):
    assert taken.keys() == LISTS.keys()


@pytest.mark.parametrize("place", LISTS)
async def test_a_column_takes_the_words_that_the_program_has_for_it_and_no_others(
    taken: dict[str, set[str]], place: str
):
    assert taken[place] == set(get_args(LISTS[place])) - NEVER.get(place, set())
