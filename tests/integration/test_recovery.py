"""A database restored from a backup takes back what the topics know, and nothing is paid twice.

The backup is a copy of the database with its workers stopped (`CREATE DATABASE … TEMPLATE`): what `pg_dump` and a
restore would give. The lost database went on and its workers were killed in the middle of their work.
"""

import asyncio
import json
import random
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.integration.restoring import (
    DATE,
    REFUSED,
    administer,
    ask,
    authorized,
    back_up,
    crash_and_restore,
    invoice,
    lose_records,
    until_read,
)
from tests.sandboxes import until_done, until_published
from worker.kafka import names
from worker.kafka.envelope import binary_headers
from worker.kafka.range_reader import read_between
from worker.kafka.records import Outgoing
from worker.kafka.sink import Sink
from worker.kafka.source import Source
from worker.sandbox.deployment import Sandbox
from worker.sandbox.erp import ErpOrder
from worker.sandbox.erp_command import publish
from worker.stack import StackEnv

ORDERS = 30


def _stories(count: int, seed: int) -> list[ErpOrder]:
    """Orders on two connectors, whose split depends on the order in which their invoices are applied."""
    dice, found = random.Random(seed), []
    for number in range(1, count + 1):
        order, parts = f"order-{number:03}", [dice.randrange(500, 3_000) for _ in range(4)]
        value = sum(parts)
        first = dice.randrange(200, value - 200)
        messages = [authorized(order, value, (("cielo", first), ("rede", value - first)))]
        messages += [invoice(order, f"N{place}", part) for place, part in enumerate(parts)]
        messages.append(invoice(order, "R1", parts[0] // 2, "Input"))
        found.append(ErpOrder(order, tuple(messages), value, parts[0] // 2))
    return found


@pytest.fixture
async def sandbox(stack: StackEnv, tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with Sandbox(f"recover_{secrets.token_hex(3)}", tmp_path, stack.as_settings()) as sandbox:
        yield sandbox


def _cut(told: Sequence[ErpOrder], messages: int) -> list[ErpOrder]:
    """The beginning of every story."""
    return [ErpOrder(one.order_id, one.messages[:messages], 0, 0) for one in told]


def _rest(told: Sequence[ErpOrder], messages: int) -> list[ErpOrder]:
    return [ErpOrder(one.order_id, one.messages[messages:], 0, 0) for one in told]


def _refuses_to_start(sandbox: Sandbox, worker: str) -> str:
    done = sandbox.processes.run(worker)
    assert done.returncode == REFUSED, done.stdout
    assert "`settlement recover`" in done.stderr
    return done.stderr


def _recover(sandbox: Sandbox) -> dict[str, Any]:
    summary = json.loads(sandbox.processes.must_run("recover", "--json"))
    sandbox.processes.must_run("audit")
    sandbox.processes.must_run("rebuild", "--check")
    again = json.loads(sandbox.processes.must_run("recover", "--json"))
    assert {name for name, left in again.items() if left} <= {"uncertain"}
    return summary


async def _commands(sandbox: Sandbox) -> Counter[tuple]:
    """Every command that ever stood on its topic, once per content."""
    source = Source(sandbox.settings, "look", (names.COMMANDS,), lambda: None)
    await source.start()
    places = [(names.COMMANDS, partition) for partition in range(sandbox.settings.topic_partitions)]
    bounds = await source.inspector.bounds(places)
    await source.stop()
    found = set()
    async for page in read_between(sandbox.settings, bounds):
        found |= {record.value for record in page}
    data = [json.loads(one) for one in found]
    return Counter((one["paymentId"], one["requestId"]) for one in data)


async def _nothing_was_paid_twice(sandbox: Sandbox, told: Sequence[ErpOrder]) -> None:
    verdict = await sandbox.verdict(told)
    assert verdict.good, verdict
    effects = Counter((one.payment_id, one.request_id) for one in await sandbox.effects())
    assert set(effects.values()) == {1}
    commands = await _commands(sandbox)
    assert set(commands.values()) == {1}, "a command stands on its topic with two contents"
    assert effects.keys() == commands.keys()
    sandbox.processes.must_run("rebuild", "--check")


async def test_a_database_restored_from_half_way_goes_on_and_nothing_is_paid_twice(sandbox: Sandbox) -> None:
    told = _stories(ORDERS, 1)
    await publish(sandbox.settings, _cut(told, 2))
    await until_published(sandbox, "settlement.confirmed", ORDERS // 2)
    await back_up(sandbox)
    await publish(sandbox.settings, _cut(_rest(told, 2), 2))
    await until_published(sandbox, "settlement.confirmed", 2 * ORDERS)
    await crash_and_restore(sandbox)

    said = _refuses_to_start(sandbox, "ledger") + _refuses_to_start(sandbox, "delivery")
    assert "this database is older than Kafka" in said
    entries = await ask(sandbox, "SELECT count(*) FROM ledger.entries")
    dry = json.loads(sandbox.processes.must_run("recover", "--json", "--dry-run"))
    assert await ask(sandbox, "SELECT count(*) FROM ledger.entries") == entries
    summary = _recover(sandbox)
    assert {**dry, "dry_run": False} == summary
    assert min(summary["facts"], summary["commands"], summary["outcomes"], summary["uncertain"]) > 0

    sandbox.start_workers()
    await publish(sandbox.settings, _rest(told, 4))
    await until_done(sandbox, told)
    await _nothing_was_paid_twice(sandbox, told)


async def test_it_goes_on_right_when_the_facts_come_again_in_another_order(sandbox: Sandbox) -> None:
    """What the ERP had sent is deleted, and sent again backwards into partitions by chance."""
    told = _stories(ORDERS, 2)
    await publish(sandbox.settings, _cut(told, 1))
    await back_up(sandbox)
    await publish(sandbox.settings, _cut(_rest(told, 1), 2))
    await until_published(sandbox, "settlement.confirmed", ORDERS)
    await until_read(sandbox, names.INVOICES, names.ORDER_CHANGES)
    await crash_and_restore(sandbox)
    await lose_records(sandbox, names.INVOICES, names.ORDER_CHANGES)

    _refuses_to_start(sandbox, "ledger")
    assert _recover(sandbox)["facts"] > ORDERS

    sandbox.start_workers()
    await _send_again_backwards(sandbox, _cut(told, 5))
    await publish(sandbox.settings, _rest(told, 5))
    await until_done(sandbox, told)
    await _nothing_was_paid_twice(sandbox, told)


async def test_an_empty_database_takes_back_everything(sandbox: Sandbox) -> None:
    told = _stories(ORDERS, 3)
    await publish(sandbox.settings, _cut(told, 4))
    await until_published(sandbox, "settlement.confirmed", 2 * ORDERS)
    await back_up(sandbox)
    await crash_and_restore(sandbox)
    await administer(sandbox, f'DROP DATABASE "{sandbox.name}" WITH (FORCE)', f'CREATE DATABASE "{sandbox.name}"')
    sandbox.processes.must_run("migrate")

    _refuses_to_start(sandbox, "ledger")
    _refuses_to_start(sandbox, "delivery")
    summary = _recover(sandbox)
    assert summary["facts"] > 3 * ORDERS

    sandbox.start_workers()
    await publish(sandbox.settings, _rest(told, 4))
    await until_done(sandbox, told)
    await _nothing_was_paid_twice(sandbox, told)


async def test_the_whole_input_read_again_changes_not_one_entry(sandbox: Sandbox) -> None:
    told = _stories(ORDERS, 4)
    await publish(sandbox.settings, told)
    await until_done(sandbox, told)
    await asyncio.to_thread(sandbox.processes.stop, "ledger", "delivery")
    hashes = "SELECT array_agg(hash ORDER BY chain, place) FROM ledger.entries"
    before = await ask(sandbox, hashes)
    await ask(sandbox, "UPDATE ledger.positions SET next_offset = 0")
    await ask(sandbox, "UPDATE delivery.positions SET next_offset = 0")

    sandbox.start_workers()
    await until_read(sandbox, names.INVOICES, names.ORDER_CHANGES)

    await _nothing_was_paid_twice(sandbox, told)
    assert await ask(sandbox, hashes) == before


async def _send_again_backwards(sandbox: Sandbox, told: Sequence[ErpOrder]) -> None:
    """Returns stay last: a return before its sale would rightly be refused."""
    dice = random.Random(5)
    messages = [message for story in told for message in story.messages][::-1]
    records = [
        Outgoing(
            message.topic, dice.randrange(sandbox.settings.topic_partitions), None, json.dumps(message.data).encode(),
            binary_headers(message.type, secrets.token_hex(8), DATE, source=b"/erp"),
        )
        for message in messages
    ]  # fmt: skip
    async with Sink(sandbox.settings) as sink:
        for record in records:
            await sink.publish([record])
