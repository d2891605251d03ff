"""A database restored from a backup recovers the rest from the topics, and nothing is paid twice.

The backup is a copy of the database with its workers stopped (`CREATE DATABASE … TEMPLATE`), as `pg_dump` and a
restore would give. The lost database went on, and its workers were killed in the middle of their work.
"""

import asyncio
import json
import random
import secrets
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tests.integration.restoring import (
    REFUSED,
    administer,
    authorized,
    back_up,
    crash_and_restore,
    lose_records,
    query_value,
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
from worker.sandbox.erp import DATE, ErpOrder, invoice
from worker.sandbox.erp_command import publish

ORDERS = 30


def _orders(count: int, seed: int) -> list[ErpOrder]:
    """Orders on two connectors; how they are split depends on the order in which their invoices are applied."""
    dice, orders = random.Random(seed), []
    for number in range(1, count + 1):
        order_id, parts = f"order-{number:03}", [dice.randrange(500, 3_000) for _ in range(4)]
        value = sum(parts)
        first = dice.randrange(200, value - 200)
        messages = [authorized(order_id, value, (("cielo", first), ("rede", value - first)))]
        messages += [invoice(order_id, f"N{place}", part) for place, part in enumerate(parts)]
        messages.append(invoice(order_id, "R1", parts[0] // 2, "Input"))
        orders.append(ErpOrder(order_id, tuple(messages), value, parts[0] // 2))
    return orders


def _beginnings(orders: Sequence[ErpOrder], messages: int) -> list[ErpOrder]:
    """The first messages of every order."""
    return [ErpOrder(order.order_id, order.messages[:messages], 0, 0) for order in orders]


def _remainders(orders: Sequence[ErpOrder], messages: int) -> list[ErpOrder]:
    return [ErpOrder(order.order_id, order.messages[messages:], 0, 0) for order in orders]


def _assert_refuses_to_start(sandbox: Sandbox, worker: str) -> str:
    done = sandbox.processes.run(worker)
    assert done.returncode == REFUSED, done.stdout
    assert "`settlement recover`" in done.stderr
    return done.stderr


def _recover(sandbox: Sandbox) -> dict[str, Any]:
    summary = json.loads(sandbox.processes.must_run("recover", "--json"))
    sandbox.processes.must_run("audit")
    sandbox.processes.must_run("rebuild", "--check")
    second = json.loads(sandbox.processes.must_run("recover", "--json"))
    assert {name for name, left in second.items() if left} <= {"uncertain"}
    return summary


async def _commands(sandbox: Sandbox) -> Counter[tuple]:
    """The number of different contents of each command on its topic."""
    source = Source(sandbox.settings, "look", (names.COMMANDS,), lambda: None)
    await source.start()
    places = [(names.COMMANDS, partition) for partition in range(sandbox.settings.topic_partitions)]
    bounds = await source.inspector.bounds(places)
    await source.stop()
    contents = set()
    async for page in read_between(sandbox.settings, bounds):
        contents |= {record.value for record in page}
    commands = [json.loads(content) for content in contents]
    return Counter((command["paymentId"], command["requestId"]) for command in commands)


async def _assert_nothing_paid_twice(sandbox: Sandbox, orders: Sequence[ErpOrder]) -> None:
    verdict = await sandbox.verdict(orders)
    assert verdict.good, verdict
    effects = Counter((effect.payment_id, effect.request_id) for effect in await sandbox.effects())
    assert set(effects.values()) == {1}
    commands = await _commands(sandbox)
    assert set(commands.values()) == {1}, "a command has two contents on its topic"
    assert effects.keys() == commands.keys()
    sandbox.processes.must_run("rebuild", "--check")


async def test_a_database_restored_from_a_backup_resumes_and_pays_nothing_twice(sandbox: Sandbox) -> None:
    orders = _orders(ORDERS, 1)
    await publish(sandbox.settings, _beginnings(orders, 2))
    await until_published(sandbox, "settlement.confirmed", ORDERS // 2)
    await back_up(sandbox)
    await publish(sandbox.settings, _beginnings(_remainders(orders, 2), 2))
    await until_published(sandbox, "settlement.confirmed", 2 * ORDERS)
    await crash_and_restore(sandbox)

    errors = _assert_refuses_to_start(sandbox, "ledger") + _assert_refuses_to_start(sandbox, "delivery")
    assert "this database is older than Kafka" in errors
    entries = await query_value(sandbox, "SELECT count(*) FROM ledger.entries")
    dry = json.loads(sandbox.processes.must_run("recover", "--json", "--dry-run"))
    assert await query_value(sandbox, "SELECT count(*) FROM ledger.entries") == entries
    summary = _recover(sandbox)
    assert {**dry, "dry_run": False} == summary
    assert min(summary["facts"], summary["commands"], summary["outcomes"], summary["uncertain"]) > 0

    sandbox.start_workers()
    await publish(sandbox.settings, _remainders(orders, 4))
    await until_done(sandbox, orders)
    await _assert_nothing_paid_twice(sandbox, orders)


async def test_facts_sent_again_in_another_order_after_a_recovery_pay_nothing_twice(sandbox: Sandbox) -> None:
    """The ERP's records are deleted, and sent again backwards into random partitions."""
    orders = _orders(ORDERS, 2)
    await publish(sandbox.settings, _beginnings(orders, 1))
    await back_up(sandbox)
    await publish(sandbox.settings, _beginnings(_remainders(orders, 1), 2))
    await until_published(sandbox, "settlement.confirmed", ORDERS)
    await until_read(sandbox, names.INVOICES, names.ORDER_CHANGES)
    await crash_and_restore(sandbox)
    await lose_records(sandbox, names.INVOICES, names.ORDER_CHANGES)

    _assert_refuses_to_start(sandbox, "ledger")
    assert _recover(sandbox)["facts"] > ORDERS

    sandbox.start_workers()
    await _send_again_backwards(sandbox, _beginnings(orders, 5))
    await publish(sandbox.settings, _remainders(orders, 5))
    await until_done(sandbox, orders)
    await _assert_nothing_paid_twice(sandbox, orders)


async def test_an_empty_database_recovers_everything(sandbox: Sandbox) -> None:
    orders = _orders(ORDERS, 3)
    await publish(sandbox.settings, _beginnings(orders, 4))
    await until_published(sandbox, "settlement.confirmed", 2 * ORDERS)
    await back_up(sandbox)
    await crash_and_restore(sandbox)
    await administer(sandbox, f'DROP DATABASE "{sandbox.name}" WITH (FORCE)', f'CREATE DATABASE "{sandbox.name}"')
    sandbox.processes.must_run("migrate")

    _assert_refuses_to_start(sandbox, "ledger")
    _assert_refuses_to_start(sandbox, "delivery")
    summary = _recover(sandbox)
    assert summary["facts"] > 3 * ORDERS

    sandbox.start_workers()
    await publish(sandbox.settings, _remainders(orders, 4))
    await until_done(sandbox, orders)
    await _assert_nothing_paid_twice(sandbox, orders)


async def test_reading_the_whole_input_again_changes_no_entry(sandbox: Sandbox) -> None:
    orders = _orders(ORDERS, 4)
    await publish(sandbox.settings, orders)
    await until_done(sandbox, orders)
    await asyncio.to_thread(sandbox.processes.stop, "ledger", "delivery")
    hashes = "SELECT array_agg(hash ORDER BY chain, place) FROM ledger.entries"
    before = await query_value(sandbox, hashes)
    await query_value(sandbox, "UPDATE ledger.positions SET next_offset = 0")
    await query_value(sandbox, "UPDATE delivery.positions SET next_offset = 0")

    sandbox.start_workers()
    await until_read(sandbox, names.INVOICES, names.ORDER_CHANGES)

    await _assert_nothing_paid_twice(sandbox, orders)
    assert await query_value(sandbox, hashes) == before


async def _send_again_backwards(sandbox: Sandbox, orders: Sequence[ErpOrder]) -> None:
    """Returns stay last, as a return before its sale would be rejected."""
    dice = random.Random(5)
    messages = [message for order in orders for message in order.messages][::-1]
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
