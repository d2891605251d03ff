"""A ledger worker that is killed at every step writes the same entries as an undisturbed one."""

import json
import secrets
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.chaos.crashing import PROGRAM, STEPS
from tests.integration.ledger.harness import authorized, invoice, outcome
from tests.integration.stream.deployment import LEDGER, StreamDeployment, deployed, environment_of
from worker.kafka import names
from worker.kafka.envelope import binary_headers
from worker.kafka.records import Outgoing
from worker.ledger.checking import run_audit, run_rebuild
from worker.stack import StackEnv

ORDERS_PER_STEP = 12
LEDGER_STEPS = [name for name in STEPS if name.startswith("ledger:")]
BATCHES = [[f"o{step}.{n}" for n in range(ORDERS_PER_STEP)] for step in range(len(LEDGER_STEPS))]
ENTRIES = """
SELECT order_id, fact, payment_id, debit, credit, amount, currency, rule, command_id FROM ledger.entries
ORDER BY order_id, fact, payment_id, command_id, debit, credit, amount
"""

Message = tuple[str, str, dict[str, Any]]


def orders(ids: Iterable[str]) -> list[Message]:
    return [(names.ORDER_CHANGES, "order.authorized", authorized(order_id, payments=[{"value": 7000}, {"value": 3000}]))
            for order_id in ids]  # fmt: skip


def invoices(ids: Iterable[str]) -> list[Message]:
    return [(names.INVOICES, "invoice.issued", invoice(order_id, number, value))
            for order_id in ids for number, value in (("1", 5000), ("1", 5000), ("2", 4000))]  # fmt: skip


async def outcomes(deployment: StreamDeployment) -> list[Message]:
    """A success for every command, under ids that are the same in every run."""
    rows = await deployment.database.fetch(
        'SELECT command_id AS "commandId", request_id AS "requestId", order_id AS "orderId", payment_id AS "paymentId",'
        " value FROM ledger.commands ORDER BY order_id, payment_id, sequence"
    )
    return [(names.OUTCOMES, "command.succeeded", outcome(dict(row))) for row in rows]


async def send(deployment: StreamDeployment, messages: list[Message]) -> None:
    records = [
        Outgoing(topic, deployment.home(data["orderId"]), data["orderId"].encode(), json.dumps(data).encode(),
                 binary_headers(kind, "id", "2026-01-15T12:00:00Z"))
        for topic, kind, data in messages
    ]  # fmt: skip
    await deployment.sink.publish(records)


async def until_consumed(deployment: StreamDeployment, number: int) -> None:
    async def consumed() -> bool:
        return (await deployment.database.fetchval("SELECT sum(records) FROM ledger.consumed") or 0) >= number

    await deployment.until(consumed, f"{number} records consumed")
    await deployment.until_quiet()


async def play(deployment: StreamDeployment, *, disturbed: bool) -> list[tuple[Any, ...]]:
    """Returns the entries after orders, invoices and outcomes in three waves, so that facts keep their order."""
    all_ids = [order_id for batch in BATCHES for order_id in batch]
    deployment.start("ledger", LEDGER)
    await send(deployment, orders(all_ids))
    await until_consumed(deployment, sent := len(all_ids))
    if disturbed:
        await deployment.stop("ledger")
    for step, batch in zip(LEDGER_STEPS, BATCHES, strict=True):
        if disturbed:
            deployment.start("ledger", (*PROGRAM, step, "ledger"))
        await send(deployment, invoices(batch))
        sent += 3 * len(batch)
        if disturbed:
            code = await deployment.exit_code("ledger")
            assert code == -signal.SIGKILL, f"the step {step!r} was not reached"
    if disturbed:
        deployment.start("ledger", LEDGER)
    await until_consumed(deployment, sent)
    done = await outcomes(deployment)
    await send(deployment, done)
    await until_consumed(deployment, sent + len(done))
    assert await deployment.stop("ledger") == 0
    return [tuple(row) for row in await deployment.database.fetch(ENTRIES)]


@pytest.mark.timeout(300)
async def test_a_ledger_worker_killed_at_every_step_writes_the_same_entries_as_an_undisturbed_one(
    stack: StackEnv, database_url: str, other_database_url: str, tmp_path: Path
):
    for name in ("undisturbed", "killed"):
        (tmp_path / name).mkdir()
    undisturbed = environment_of(stack, database_url, f"t{secrets.token_hex(4)}.", tmp_path / "undisturbed")
    async with deployed(undisturbed, tmp_path / "undisturbed") as deployment:
        expected = await play(deployment, disturbed=False)

    killed = environment_of(stack, other_database_url, f"t{secrets.token_hex(4)}.", tmp_path / "killed")
    async with deployed(killed, tmp_path / "killed") as deployment:
        entries = await play(deployment, disturbed=True)
        published = {
            orjson.loads(record.value or b"")["orderId"]
            for record in deployment.outputs
            if record.topic == names.ORDERS
        }
        assert (await run_audit(deployment.settings))["findings"] == []
        assert (await run_rebuild(deployment.settings))["differences"] == []

    assert len(expected) > 5 * len(BATCHES) * ORDERS_PER_STEP
    assert entries == expected
    assert len(published) == len(BATCHES) * ORDERS_PER_STEP, "an order without a published state"
