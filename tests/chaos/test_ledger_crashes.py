"""The ledger worker dies at each step of its way: entry by entry the ledger is that of a run that nobody disturbed."""

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import orjson
import pytest

from tests.chaos.crashing import PROGRAM, STEPS
from tests.integration.ledger.harness import CONNECTORS, authorized, invoice, outcome
from tests.integration.stream.deployment import PARTITIONS, StreamDeployment
from worker.kafka import names
from worker.kafka.envelope import write
from worker.kafka.records import Outgoing
from worker.ledger.checking import run_audit, run_rebuild
from worker.postgres.migrations import migrate
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
    return [(names.ORDER_CHANGES, "order.authorized", authorized(one, payments=[{"value": 7000}, {"value": 3000}]))
            for one in ids]  # fmt: skip


def invoices(ids: Iterable[str]) -> list[Message]:
    return [(names.INVOICES, "invoice.issued", invoice(one, number, value))
            for one in ids for number, value in (("1", 5000), ("1", 5000), ("2", 4000))]  # fmt: skip


async def outcomes(deployment: StreamDeployment) -> list[Message]:
    """What the connector did: everything that was asked, by ids that are the same in every run."""
    rows = await deployment.database.fetch(
        'SELECT command_id AS "commandId", request_id AS "requestId", order_id AS "orderId", payment_id AS "paymentId",'
        " value FROM ledger.commands ORDER BY order_id, payment_id, sequence"
    )
    return [(names.OUTCOMES, "command.succeeded", outcome(dict(row))) for row in rows]


@asynccontextmanager
async def deployed(stack: StackEnv, url: str, folder: Path) -> AsyncIterator[StreamDeployment]:
    (folder / "connectors.toml").write_text(CONNECTORS)
    deployment = StreamDeployment({
        "KAFKA_BOOTSTRAP_SERVERS": stack.bootstrap_servers, "DATABASE_URL": url,
        "TOPIC_PREFIX": f"t{secrets.token_hex(4)}.", "TOPIC_PARTITIONS": str(PARTITIONS),
        "CONNECTORS_FILE": str(folder / "connectors.toml"), "LOG_FORMAT": "json",
    }, folder)  # fmt: skip
    try:
        await deployment.open()
        yield deployment
    finally:
        await deployment.close()


@asynccontextmanager
async def another_database(url: str) -> AsyncIterator[str]:
    name, server = f"test_{secrets.token_hex(6)}", await asyncpg.connect(url)
    await server.execute(f"CREATE DATABASE {name}")
    try:
        another = urlsplit(url)._replace(path=f"/{name}").geturl()
        await migrate(another)
        yield another
    finally:
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await server.close()


def start(deployment: StreamDeployment, step: str | None = None) -> None:
    program = (*PROGRAM, step) if step else (sys.executable, "-m", "worker")
    with (deployment.folder / "ledger.log").open("ab") as log:
        deployment.processes["ledger"] = subprocess.Popen(
            [*program, "ledger"], env=os.environ | deployment.environment, stdout=log, stderr=log
        )


async def send(deployment: StreamDeployment, messages: list[Message]) -> None:
    records = [
        Outgoing(topic, deployment.home(data["orderId"]), data["orderId"].encode(), json.dumps(data).encode(),
                 write(kind, "id", "2026-01-15T12:00:00Z"))
        for topic, kind, data in messages
    ]  # fmt: skip
    await deployment.sink.publish(records)


async def until_consumed(deployment: StreamDeployment, number: int) -> None:
    async def consumed() -> bool:
        return (await deployment.database.fetchval("SELECT sum(records) FROM ledger.consumed") or 0) >= number

    await deployment.until(consumed, f"{number} records consumed")
    await deployment.until_quiet()


async def play(deployment: StreamDeployment, *, disturbed: bool) -> list[tuple[Any, ...]]:
    """Three waves, so that each order's facts come in one order: orders, invoices, outcomes."""
    everyone = [one for batch in BATCHES for one in batch]
    start(deployment)
    await send(deployment, orders(everyone))
    await until_consumed(deployment, sent := len(everyone))
    if disturbed:
        await deployment.stop("ledger")
    for step, batch in zip(LEDGER_STEPS, BATCHES, strict=True):
        if disturbed:
            start(deployment, step)
        await send(deployment, invoices(batch))
        sent += 3 * len(batch)
        if disturbed:
            code = await asyncio.to_thread(deployment.processes.pop("ledger").wait, 60)
            assert code == -signal.SIGKILL, f"the step {step!r} was not reached"
    if disturbed:
        start(deployment)
    await until_consumed(deployment, sent)
    done = await outcomes(deployment)
    await send(deployment, done)
    await until_consumed(deployment, sent + len(done))
    assert await deployment.stop("ledger") == 0
    return [tuple(row) for row in await deployment.database.fetch(ENTRIES)]


@pytest.mark.timeout(300)
async def test_a_ledger_that_died_at_every_step_is_the_ledger_of_an_undisturbed_run(
    stack: StackEnv, database_url: str, tmp_path: Path
):
    for name in ("calm", "storm"):
        (tmp_path / name).mkdir()
    async with deployed(stack, database_url, tmp_path / "calm") as deployment:
        expected = await play(deployment, disturbed=False)

    async with another_database(database_url) as url, deployed(stack, url, tmp_path / "storm") as deployment:
        found = await play(deployment, disturbed=True)
        told = {
            orjson.loads(one.value or b"")["orderId"]: one for one in deployment.outputs if one.topic == names.ORDERS
        }
        assert (await run_audit(deployment.settings))["findings"] == []
        assert (await run_rebuild(deployment.settings))["differences"] == []

    assert len(expected) > 5 * len(BATCHES) * ORDERS_PER_STEP
    assert found == expected
    assert len(told) == len(BATCHES) * ORDERS_PER_STEP, "every order was told of"
