"""What a recovery restores since the backup: commands, decisions, dead letters, parked facts; and its exclusive lock.

Each test takes a backup, lets the deployment go on, loses its database, and compares the recovered one with it.
"""

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from asyncpg.transaction import Transaction

from tests.integration.restoring import (
    REFUSED,
    authorized,
    back_up,
    crash_and_restore,
    lose_records,
    query_value,
    rows,
    until_read,
    until_value,
)
from tests.sandboxes import SECONDS_MAX, until_published
from tests.until import until
from worker.kafka import names
from worker.kafka.lag import committed_offsets
from worker.kafka.murmur2 import partition_of
from worker.kafka.sink import Sink
from worker.ledger.checking import run_audit, run_rebuild
from worker.ledger.handler import LedgerHandler
from worker.people import commands, replaying
from worker.people.acting import Actor
from worker.postgres.connecting import connect
from worker.recovery.errors import RecoveryError
from worker.recovery.recovery import Recovery, run_recovery
from worker.recovery.summary import Summary
from worker.sandbox.deployment import Sandbox
from worker.sandbox.erp import ErpOrder, Message, invoice
from worker.sandbox.erp_command import publish
from worker.stack import StackEnv

PARTITIONS = 2
TOTAL = 10_000
ALL_SECONDS = 600
ANA = Actor("ana", "spoke with the acquirer")

# The recovered database must give the same results as the lost one.
COMPARED = {
    "orders": "SELECT order_id, opened, phase, attention, needs_authorization, version, facts, parked, document"
    " FROM ledger.orders",
    "entries": "SELECT order_id, fact, payment_id, debit, credit, amount, rule, command_id FROM ledger.entries",
    "events": "SELECT order_id, sequence, message FROM ledger.events",
    "parked": 'SELECT order_id, waits_for, topic, partition, "offset" FROM ledger.parked',
    "commands": "SELECT command_id, state, done, operation_id FROM delivery.commands",
    "decisions": "SELECT id, action, order_id, command_id, invoice_number, value, operation_id, decided_by, reason"
    " FROM delivery.decisions",
    "dead letters": 'SELECT topic, partition, "offset", order_id, reason, message FROM ledger.dead_letters',
    "dead commands": 'SELECT partition, "offset", order_id, reason, message, status, decided_by, decided_reason'
    " FROM delivery.dead_letters",
}
OPEN = "SELECT count(*) FROM delivery.dead_letters WHERE status = 'open'"
OWNED = """SELECT count(owner) FROM (
    SELECT owner FROM ledger.partitions UNION ALL SELECT owner FROM delivery.partitions) AS everywhere"""
# Members that have tried to take partitions more than once.
TRYING = """SELECT count(*) FROM (SELECT * FROM ledger.members UNION ALL SELECT * FROM delivery.members) AS member
    WHERE lease_until > joined_at + interval '5.5 seconds'"""


@pytest.fixture
async def sandbox(stack: StackEnv, tmp_path: Path) -> AsyncIterator[Sandbox]:
    settings = {**stack.as_settings(), "TOPIC_PARTITIONS": str(PARTITIONS)}
    async with Sandbox(f"taken_back_{secrets.token_hex(3)}", tmp_path, settings) as sandbox:
        await answer_all(sandbox, "ok")
        yield sandbox


def ignore_progress(*_: int) -> None:
    """Gets the progress of a recovery."""


async def answer_all(sandbox: Sandbox, word: str) -> None:
    """Makes both connectors give this answer from now on."""
    async with httpx.AsyncClient(trust_env=False) as client:
        for url in sandbox.urls.values():
            (await client.post(f"{url}/faults", json={"all": word, "for_seconds": ALL_SECONDS})).raise_for_status()


async def count_requests(sandbox: Sandbox) -> int:
    """How many requests the connectors have received."""
    async with httpx.AsyncClient(trust_env=False) as client:
        return sum([len((await client.get(f"{url}/book")).json()["requests"]) for url in sandbox.urls.values()])


def orders_of(partition: int, count: int) -> list[str]:
    candidates = (f"order-{number}" for number in range(100))
    return [order for order in candidates if partition_of(order, PARTITIONS) == partition][:count]


def authorizations(*orders: str) -> list[Message]:
    return [authorized(order, TOTAL, [("cielo", TOTAL)]) for order in orders]


def invoices(*orders: str) -> list[Message]:
    return [invoice(order, "1", TOTAL) for order in orders]


def changes(by: int, *orders: str) -> list[Message]:
    values = {"discountValue": max(0, -by), "incrementValue": max(0, by)}
    return [
        Message(names.ORDER_CHANGES, "order.changed", {"orderId": order, "requestId": str(by), "reason": "r", **values})
        for order in orders
    ]


async def send(sandbox: Sandbox, *messages: Message) -> None:
    await publish(sandbox.settings, [ErpOrder(message.order_id, (message,), 0, 0) for message in messages])


async def until_idle(sandbox: Sandbox, finished: int) -> None:
    """Waits until so many orders are finished, no command waits, all input is read and all output is published."""
    await until_value(sandbox, finished, "SELECT count(*) FROM ledger.orders WHERE phase = 'finished'")
    await until_value(sandbox, 0, "SELECT count(*) FROM delivery.commands WHERE state = 'waiting'")
    await until_value(sandbox, 0, "SELECT count(*) FROM delivery.outbox")
    await until_read(sandbox, *LedgerHandler.topics)
    await until_value(sandbox, 0, "SELECT count(*) FROM ledger.outbox")


async def until_offsets_committed(sandbox: Sandbox, topic: str) -> None:
    """Waits until the topic is read and its offsets are committed to Kafka."""
    await until_read(sandbox, topic)
    read = await query_value(sandbox, f"SELECT sum(next_offset) FROM ledger.positions WHERE topic = '{topic}'")

    async def is_committed() -> bool:
        committed = await committed_offsets(sandbox.settings, names.group("ledger"))
        return read == sum(at for place, at in committed.items() if place[0] == topic)

    await until(is_committed, SECONDS_MAX)


async def contents(sandbox: Sandbox) -> dict[str, list[tuple]]:
    return {name: sorted(await rows(sandbox, query), key=repr) for name, query in COMPARED.items()}


async def recover(sandbox: Sandbox) -> Summary:
    """Recovers, and checks that the database is sound and a second recovery finds nothing more."""
    summary = await run_recovery(sandbox.settings, ignore_progress)
    await assert_sound(sandbox)
    second = await run_recovery(sandbox.settings, ignore_progress)
    assert {name for name, number in second.items() if number} <= {"uncertain"}
    return summary


async def assert_sound(sandbox: Sandbox) -> None:
    for verdict in (await run_audit(sandbox.settings), await run_rebuild(sandbox.settings)):
        assert verdict["ok"], verdict


async def assert_each_done_once(sandbox: Sandbox, settled: int) -> None:
    """Checks in the connectors' own books that each request had one effect."""
    effects = await sandbox.effects()
    assert set(Counter(effect.request_id for effect in effects).values()) == {1}
    assert sum(effect.value for effect in effects if effect.operation == "settle") == settled
    await assert_sound(sandbox)


async def act(sandbox: Sandbox, decide: Callable[[Any], Awaitable[object]]) -> None:
    """Runs an operator's decision on a connection of its own."""
    connection = await connect(sandbox.settings.database, name="test")
    try:
        await decide(connection)
    finally:
        await connection.close()


async def replay(sandbox: Sandbox, *orders: str) -> None:
    """Replays the dead letters of these orders."""
    ids = dict(await rows(sandbox, "SELECT order_id, id FROM ledger.dead_letters"))
    async with Sink(sandbox.settings) as sink:
        await act(sandbox, lambda connection: replaying.replay(connection, sink, ANA, [ids[order] for order in orders]))


@asynccontextmanager
async def uncommitted_recovery(sandbox: Sandbox) -> AsyncIterator[Transaction]:
    """Runs a recovery and yields its transaction, which is not committed yet."""
    connection = await connect(sandbox.settings.database, name="test", idle_in_transaction_session_timeout="0")
    transaction = connection.transaction()
    await transaction.start()
    try:
        await Recovery(sandbox.settings, connection, ignore_progress).run()
        yield transaction
    finally:
        connection.terminate()


async def test_commands_lost_from_their_topic_are_recovered_from_the_ledger_and_sent_again(
    sandbox: Sandbox,
):
    paid, first, second, third, fourth = orders_of(0, 5)
    await send(sandbox, *authorizations(paid, first, second, third, fourth))
    await until_published(sandbox, "order.opened", 5)
    await back_up(sandbox)
    await send(sandbox, *invoices(paid))
    await until_published(sandbox, "settlement.confirmed", 1)
    await answer_all(sandbox, "decline")
    await send(sandbox, *invoices(first, second))
    await until_published(sandbox, "settlement.failed", 2)
    await answer_all(sandbox, "error")
    await send(sandbox, *invoices(third, fourth))
    await until_value(sandbox, 2, "SELECT count(*) FROM delivery.commands WHERE state = 'waiting' AND uncertain")
    await until_offsets_committed(sandbox, names.OUTCOMES)
    await crash_and_restore(sandbox)
    await lose_records(sandbox, names.COMMANDS, names.OUTCOMES)
    requests = await count_requests(sandbox)

    output = sandbox.processes.must_run("recover")

    assert "0 commands were taken over from their topic" in output
    assert "5 commands that their topic no longer has were taken over from the ledger" in output
    assert "2 commands without an outcome will be asked again" in output
    await assert_sound(sandbox)
    assert sorted(await rows(sandbox, "SELECT order_id, state, uncertain FROM delivery.commands")) == sorted([
        (paid, "succeeded", False), (first, "declined", False), (second, "declined", False),
        (third, "waiting", True), (fourth, "waiting", True),
    ])  # fmt: skip
    assert await count_requests(sandbox) == requests, "a recovery sends no requests"

    await answer_all(sandbox, "decline")
    sandbox.start_workers()
    await until_published(sandbox, "settlement.failed", 4)
    assert await query_value(sandbox, OPEN) == 4, "each command has its own dead letter"
    await answer_all(sandbox, "ok")
    for (command_id,) in await rows(sandbox, "SELECT command_id FROM delivery.commands WHERE state = 'declined'"):
        await act(sandbox, lambda connection, id_=command_id: commands.retry(connection, ANA, id_))
    await until_idle(sandbox, 5)
    assert await query_value(sandbox, OPEN) == 0, "no decided command has an open dead letter"
    await assert_each_done_once(sandbox, 5 * TOTAL)


async def test_a_declined_command_whose_retry_succeeded_is_not_sent_again_without_its_outcome(
    sandbox: Sandbox,
):
    paid, order = orders_of(0, 2)
    await send(sandbox, *authorizations(paid, order), *invoices(paid))
    await until_published(sandbox, "settlement.confirmed", 1)
    await answer_all(sandbox, "error")
    await send(sandbox, *invoices(order))
    await until_value(sandbox, 1, "SELECT count(*) FROM delivery.commands WHERE state = 'waiting' AND uncertain")
    await back_up(sandbox)
    await answer_all(sandbox, "decline")
    await until_published(sandbox, "settlement.failed", 1)
    await answer_all(sandbox, "ok")
    [(declined,)] = await rows(sandbox, "SELECT command_id FROM delivery.commands WHERE state = 'declined'")
    await act(sandbox, lambda connection: commands.retry(connection, ANA, declined))
    await until_idle(sandbox, 2)
    await until_offsets_committed(sandbox, names.OUTCOMES)
    await crash_and_restore(sandbox)
    await lose_records(sandbox, names.OUTCOMES)

    sandbox.processes.must_run("recover")
    sandbox.start_workers()

    await until_idle(sandbox, 2)
    assert sorted(await rows(sandbox, "SELECT order_id, sequence, state FROM delivery.commands")) == sorted([
        (paid, 1, "succeeded"), (order, 1, "declined"), (order, 2, "succeeded"),
    ])  # fmt: skip
    await assert_each_done_once(sandbox, 2 * TOTAL)


async def test_decisions_since_the_backup_are_applied_once_and_both_databases_are_equal(sandbox: Sandbox):
    """Two commands fail again after a retry: their dead letters are open again."""
    retried, abandoned, resolved, later, lapsed, retried_before, retried_since = orders_of(0, 4) + orders_of(1, 3)
    expired = authorized(lapsed, TOTAL, [("rede", TOTAL)])
    expired.data["payments"][0]["expiresAt"] = "2020-01-01T00:00:00Z"
    await send(
        sandbox,
        *authorizations(retried, abandoned, resolved, later, retried_before, retried_since),
        expired,
        *invoices(lapsed),
    )
    await answer_all(sandbox, "decline")
    await send(sandbox, *invoices(retried, abandoned))
    await until_published(sandbox, "settlement.failed", 3)
    await answer_all(sandbox, "manual")
    await send(sandbox, *invoices(resolved))
    await until_published(sandbox, "command.manual", 1)
    await answer_all(sandbox, "echo")
    await send(sandbox, *invoices(retried_before, retried_since))
    await until_published(sandbox, "command.suspect", 2)
    command_ids = dict(await rows(sandbox, "SELECT order_id, command_id FROM delivery.commands"))
    await answer_all(sandbox, "error")
    await act(sandbox, lambda connection: commands.retry(connection, ANA, command_ids[retried_before]))
    await until_value(sandbox, 4, OPEN)
    await back_up(sandbox)
    await answer_all(sandbox, "echo")
    await until_published(sandbox, "command.suspect", 3)
    await act(sandbox, lambda connection: commands.retry(connection, ANA, command_ids[retried_since]))
    await until_published(sandbox, "command.suspect", 4)
    await answer_all(sandbox, "decline")
    await send(sandbox, *invoices(later))
    await until_published(sandbox, "settlement.failed", 4)
    await answer_all(sandbox, "ok")

    command_ids = dict(await rows(sandbox, "SELECT order_id, command_id FROM delivery.commands"))
    await act(sandbox, lambda connection: commands.retry(connection, ANA, command_ids[retried]))
    await act(sandbox, lambda connection: commands.retry(connection, ANA, command_ids[later]))
    await act(sandbox, lambda connection: commands.abandon(connection, ANA, command_ids[abandoned]))
    await act(
        sandbox,
        lambda connection: commands.resolve(connection, ANA, command_ids[resolved], done=TOTAL, operation_id="by-hand"),
    )
    await act(sandbox, lambda connection: commands.abandon_amount(connection, ANA, lapsed, invoice="1"))
    await until_idle(sandbox, 5)
    before = await contents(sandbox)
    await crash_and_restore(sandbox)

    assert (await recover(sandbox))["decisions"] == 6
    assert await contents(sandbox) == before
    sandbox.start_workers()
    await until_idle(sandbox, 5)
    assert await contents(sandbox) == before
    await assert_each_done_once(sandbox, 4 * TOTAL)


async def test_dead_letters_since_the_backup_are_recovered_and_each_replay_counts_once(
    sandbox: Sandbox,
):
    known, replayed = orders_of(1, 2)
    [untouched] = orders_of(0, 1)
    await send(sandbox, *(authorized(order, 5_000, [("cielo", TOTAL)]) for order in (known, replayed, untouched)))
    await send(sandbox, *changes(-6_000, known))
    await until_published(sandbox, "change.rejected", 1)
    await back_up(sandbox)
    await send(sandbox, *changes(-6_000, replayed))
    await until_published(sandbox, "change.rejected", 2)
    await send(sandbox, *changes(-6_000, untouched))
    await until_published(sandbox, "change.rejected", 3)
    await send(sandbox, *changes(3_000, known, replayed, untouched))
    await until_published(sandbox, "change.accepted", 3)
    await replay(sandbox, known, replayed)
    await until_published(sandbox, "change.accepted", 5)
    await until_idle(sandbox, 0)
    before = await contents(sandbox)
    await crash_and_restore(sandbox)

    assert (await recover(sandbox))["dead_letters"] == 2
    sandbox.start_workers()
    await until_idle(sandbox, 0)
    assert await contents(sandbox) == before
    # No topic records that an operator replayed a dead letter that the backup lacked: it is open again.
    assert dict(await rows(sandbox, "SELECT order_id, status FROM ledger.dead_letters")) == {
        known: "replayed", replayed: "open", untouched: "open",
    }  # fmt: skip

    await replay(sandbox, replayed, untouched)
    await until_published(sandbox, "change.accepted", 6)
    await until_idle(sandbox, 0)
    assert await rows(sandbox, "SELECT DISTINCT status, count(*) OVER () FROM ledger.dead_letters") == [("replayed", 3)]
    assert [sandbox.poll().orders[order]["value"] for order in (known, replayed, untouched)] == [2_000] * 3
    await assert_sound(sandbox)


async def test_facts_parked_before_or_since_the_backup_end_as_they_would_have(sandbox: Sandbox):
    woken, asleep, passing, waiting = orders_of(0, 4)
    await send(sandbox, *invoices(woken, asleep))
    await until_value(sandbox, 2, "SELECT count(*) FROM ledger.parked")
    await back_up(sandbox)
    await send(sandbox, *invoices(passing, waiting))
    await until_value(sandbox, 4, "SELECT count(*) FROM ledger.parked")
    await send(sandbox, *authorizations(woken, passing))
    await until_idle(sandbox, 2)
    before = await contents(sandbox)
    await crash_and_restore(sandbox)

    await recover(sandbox)
    assert await rows(sandbox, "SELECT order_id FROM ledger.parked") == [(asleep,)]
    sandbox.start_workers()
    await until_idle(sandbox, 2)
    assert await contents(sandbox) == before

    await send(sandbox, *authorizations(asleep, waiting))
    await until_idle(sandbox, 4)
    await assert_each_done_once(sandbox, 4 * TOTAL)


async def test_deleted_facts_parked_since_the_backup_are_reported_and_can_be_published_again(sandbox: Sandbox):
    applied, waiting = orders_of(0, 2)
    await back_up(sandbox)
    await send(sandbox, *authorizations(applied), *invoices(applied, waiting), *invoices(applied))
    await until_idle(sandbox, 1)
    await until_offsets_committed(sandbox, names.INVOICES)
    await crash_and_restore(sandbox)
    await lose_records(sandbox, names.INVOICES)

    output = sandbox.processes.must_run("recover")

    place = f"{sandbox.settings.topic(names.INVOICES)} partition 0"
    assert f"{place}: retention has deleted offsets 0 to 2, and 2 of these records left no trace" in output
    await assert_sound(sandbox)
    sandbox.start_workers()
    await send(sandbox, *invoices(applied, waiting), *authorizations(waiting))
    await until_idle(sandbox, 2)
    await assert_each_done_once(sandbox, 2 * TOTAL)


async def test_a_held_automatic_settlement_is_recovered_after_retention_deleted_its_record(
    sandbox: Sandbox,
):
    [order] = orders_of(0, 1)
    await send(sandbox, authorized(order, 5_000, [("cielo", TOTAL)]))
    await until_published(sandbox, "order.opened", 1)
    await answer_all(sandbox, "error")
    await send(sandbox, invoice(order, "1", 4_000))
    await until_value(sandbox, 1, "SELECT count(*) FROM delivery.commands WHERE state = 'waiting' AND uncertain")
    await back_up(sandbox)
    held = {"orderId": order, "paymentId": f"{order}-cielo", "settleId": "by-itself", "value": TOTAL}
    await send(sandbox, Message(names.ORDER_CHANGES, "payment.auto_settled", held))
    await until_value(sandbox, 1, "SELECT count(*) FROM ledger.parked WHERE waits_for = 'judgement'")
    await send(sandbox, *changes(3_000, order))
    await until_published(sandbox, "change.accepted", 1)
    await until_offsets_committed(sandbox, names.ORDER_CHANGES)
    await crash_and_restore(sandbox)
    await lose_records(sandbox, names.ORDER_CHANGES)

    sandbox.processes.must_run("recover")
    await answer_all(sandbox, "ok")
    sandbox.start_workers()

    await until_published(sandbox, "payment.suspect", 1)
    await assert_sound(sandbox)


async def test_a_recovery_is_refused_while_a_worker_runs_and_does_not_disturb_it(sandbox: Sandbox):
    await send(sandbox, *authorizations("order-1"))
    await until_published(sandbox, "order.opened", 1)
    owners = "SELECT partition, owner, epoch FROM ledger.partitions"
    before = await rows(sandbox, owners)

    done = sandbox.processes.run("recover")
    assert done.returncode == REFUSED
    assert "a ledger worker is running" in done.stderr
    assert "stop all workers first" in done.stderr
    assert await rows(sandbox, owners) == before
    await send(sandbox, *invoices("order-1"))
    await until_idle(sandbox, 1)

    await asyncio.to_thread(sandbox.processes.stop, "ledger")
    with pytest.raises(RecoveryError, match="a delivery worker is running"):
        await run_recovery(sandbox.settings, ignore_progress)
    await asyncio.to_thread(sandbox.processes.stop, "delivery")
    await recover(sandbox)
    await assert_each_done_once(sandbox, TOTAL)


async def test_during_a_recovery_workers_wait_and_another_recovery_is_refused(
    sandbox: Sandbox,
):
    await send(sandbox, *authorizations("order-1", "order-2"))
    await until_published(sandbox, "order.opened", 2)
    await until_value(sandbox, 2 * PARTITIONS, OWNED)
    await back_up(sandbox)
    await send(sandbox, *invoices("order-1"))
    await until_idle(sandbox, 1)
    await crash_and_restore(sandbox)
    await send(sandbox, *invoices("order-2"))
    requests, facts = await count_requests(sandbox), await query_value(sandbox, "SELECT count(*) FROM ledger.facts")

    async with uncommitted_recovery(sandbox) as transaction:
        with pytest.raises(RecoveryError, match="another recovery is using this database"):
            await run_recovery(sandbox.settings, ignore_progress)
        sandbox.start_workers()
        await until_value(sandbox, 2, TRYING)
        assert await query_value(sandbox, OWNED) == 0
        assert await query_value(sandbox, "SELECT count(*) FROM ledger.facts") == facts
        assert await count_requests(sandbox) == requests
        await transaction.commit()

    await until_value(sandbox, 2 * PARTITIONS, OWNED)
    await until_idle(sandbox, 2)
    await assert_each_done_once(sandbox, 2 * TOTAL)
