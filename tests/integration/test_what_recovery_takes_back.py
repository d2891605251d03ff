"""What a backup could not have: lost commands, decisions of people, dead letters, facts that waited; who is kept out.

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
    ask,
    authorized,
    back_up,
    crash_and_restore,
    invoice,
    lose_records,
    rows,
    until_asked,
    until_read,
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
from worker.sandbox.erp import ErpOrder, Message
from worker.sandbox.erp_command import publish
from worker.stack import StackEnv

PARTITIONS = 2
TOTAL = 10_000
ALL_SECONDS = 600
ANA = Actor("ana", "spoke with the acquirer")

# What the recovered database must have as the lost one had it.
BOOKS = {
    "orders": "SELECT order_id, opened, phase, attention, version, facts, parked, document FROM ledger.orders",
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
# Members that have tried more than once to get partitions.
BEATING = """SELECT count(*) FROM (SELECT * FROM ledger.members UNION ALL SELECT * FROM delivery.members) AS member
    WHERE lease_until > joined_at + interval '5.5 seconds'"""


@pytest.fixture
async def sandbox(stack: StackEnv, tmp_path: Path) -> AsyncIterator[Sandbox]:
    settings = {**stack.as_settings(), "TOPIC_PARTITIONS": str(PARTITIONS)}
    async with Sandbox(f"taken_back_{secrets.token_hex(3)}", tmp_path, settings) as sandbox:
        await everything_is_answered(sandbox, "ok")
        yield sandbox


def nobody(*_: int) -> None:
    """Is told how far a recovery is."""


async def everything_is_answered(sandbox: Sandbox, word: str) -> None:
    """From now on, by both connectors."""
    async with httpx.AsyncClient(trust_env=False) as client:
        for url in sandbox.urls.values():
            (await client.post(f"{url}/faults", json={"all": word, "for_seconds": ALL_SECONDS})).raise_for_status()


async def requests(sandbox: Sandbox) -> int:
    """How many the connectors have got."""
    async with httpx.AsyncClient(trust_env=False) as client:
        return sum([len((await client.get(f"{url}/book")).json()["requests"]) for url in sandbox.urls.values()])


def orders_of(partition: int, count: int) -> list[str]:
    candidates = (f"order-{number}" for number in range(100))
    return [one for one in candidates if partition_of(one, PARTITIONS) == partition][:count]


def opened(*orders: str) -> list[Message]:
    return [authorized(one, TOTAL, [("cielo", TOTAL)]) for one in orders]


def invoiced(*orders: str) -> list[Message]:
    return [invoice(one, "1", TOTAL) for one in orders]


def changed(by: int, *orders: str) -> list[Message]:
    values = {"discountValue": max(0, -by), "incrementValue": max(0, by)}
    return [
        Message(names.ORDER_CHANGES, "order.changed", {"orderId": one, "requestId": str(by), "reason": "r", **values})
        for one in orders
    ]


async def say(sandbox: Sandbox, *messages: Message) -> None:
    await publish(sandbox.settings, [ErpOrder(one.order_id, (one,), 0, 0) for one in messages])


async def until_at_rest(sandbox: Sandbox, finished: int) -> None:
    """So many orders are finished, nothing is asked any more, all is read, and Kafka has all that was told."""
    await until_asked(sandbox, finished, "SELECT count(*) FROM ledger.orders WHERE phase = 'finished'")
    await until_asked(sandbox, 0, "SELECT count(*) FROM delivery.commands WHERE state = 'waiting'")
    await until_asked(sandbox, 0, "SELECT count(*) FROM delivery.outbox")
    await until_read(sandbox, *LedgerHandler.topics)
    await until_asked(sandbox, 0, "SELECT count(*) FROM ledger.outbox")


async def until_kafka_knows(sandbox: Sandbox, topic: str) -> None:
    """All of it is read, and Kafka was told so."""
    await until_read(sandbox, topic)
    read = await ask(sandbox, f"SELECT sum(next_offset) FROM ledger.positions WHERE topic = '{topic}'")

    async def told() -> bool:
        committed = await committed_offsets(sandbox.settings, names.group("ledger"))
        return read == sum(at for place, at in committed.items() if place[0] == topic)

    await until(told, SECONDS_MAX)


async def books(sandbox: Sandbox) -> dict[str, list[tuple]]:
    return {name: sorted(await rows(sandbox, query), key=repr) for name, query in BOOKS.items()}


async def recover(sandbox: Sandbox) -> Summary:
    """Sound afterwards, and with nothing left to take back."""
    found = await run_recovery(sandbox.settings, nobody)
    await is_sound(sandbox)
    again = await run_recovery(sandbox.settings, nobody)
    assert {name for name, number in again.items() if number} <= {"uncertain"}
    return found


async def is_sound(sandbox: Sandbox) -> None:
    for found in (await run_audit(sandbox.settings), await run_rebuild(sandbox.settings)):
        assert found["ok"], found


async def each_was_done_once(sandbox: Sandbox, settled: int) -> None:
    """In the connectors' own books."""
    done = await sandbox.effects()
    assert set(Counter(one.request_id for one in done).values()) == {1}
    assert sum(one.value for one in done if one.operation == "settle") == settled
    await is_sound(sandbox)


async def people(sandbox: Sandbox, act: Callable[[Any], Awaitable[object]]) -> None:
    """Somebody types something."""
    connection = await connect(sandbox.settings.database, name="test")
    try:
        await act(connection)
    finally:
        await connection.close()


async def replay(sandbox: Sandbox, *orders: str) -> None:
    """The dead letters of these orders."""
    ids = dict(await rows(sandbox, "SELECT order_id, id FROM ledger.dead_letters"))
    async with Sink(sandbox.settings) as sink:
        await people(sandbox, lambda typed: replaying.replay(typed, sink, ANA, [ids[one] for one in orders]))


@asynccontextmanager
async def recovery_at_work(sandbox: Sandbox) -> AsyncIterator[Transaction]:
    """It has done everything and is not over yet."""
    connection = await connect(sandbox.settings.database, name="test", idle_in_transaction_session_timeout="0")
    transaction = connection.transaction()
    await transaction.start()
    try:
        await Recovery(sandbox.settings, connection, nobody).run()
        yield transaction
    finally:
        connection.terminate()


async def test_commands_that_the_topic_has_lost_come_from_the_ledger_and_are_asked_again_under_their_ids(
    sandbox: Sandbox,
):
    paid, first, second, third, fourth = orders_of(0, 5)
    await say(sandbox, *opened(paid, first, second, third, fourth))
    await until_published(sandbox, "order.opened", 5)
    await back_up(sandbox)
    await say(sandbox, *invoiced(paid))
    await until_published(sandbox, "settlement.confirmed", 1)
    await everything_is_answered(sandbox, "decline")
    await say(sandbox, *invoiced(first, second))
    await until_published(sandbox, "settlement.failed", 2)
    await everything_is_answered(sandbox, "error")
    await say(sandbox, *invoiced(third, fourth))
    await until_asked(sandbox, 2, "SELECT count(*) FROM delivery.commands WHERE state = 'waiting' AND uncertain")
    await until_kafka_knows(sandbox, names.OUTCOMES)
    await crash_and_restore(sandbox)
    await lose_records(sandbox, names.COMMANDS, names.OUTCOMES)
    asked = await requests(sandbox)

    said = sandbox.processes.must_run("recover")

    assert "0 commands were taken over from their topic" in said
    assert "5 commands that their topic no longer has were taken over from the ledger" in said
    assert "2 commands without an outcome will be asked again" in said
    await is_sound(sandbox)
    assert sorted(await rows(sandbox, "SELECT order_id, state, uncertain FROM delivery.commands")) == sorted([
        (paid, "succeeded", False), (first, "declined", False), (second, "declined", False),
        (third, "waiting", True), (fourth, "waiting", True),
    ])  # fmt: skip
    assert await requests(sandbox) == asked, "a recovery asks nobody"

    await everything_is_answered(sandbox, "decline")
    sandbox.start_workers()
    await until_published(sandbox, "settlement.failed", 4)
    assert await ask(sandbox, OPEN) == 4, "each has a dead letter of its own"
    await everything_is_answered(sandbox, "ok")
    for (command_id,) in await rows(sandbox, "SELECT command_id FROM delivery.commands WHERE state = 'declined'"):
        await people(sandbox, lambda typed, one=command_id: commands.retry(typed, ANA, one))
    await until_at_rest(sandbox, 5)
    assert await ask(sandbox, OPEN) == 0, "nobody is reminded of what was decided"
    await each_was_done_once(sandbox, 5 * TOTAL)


async def test_what_was_declined_and_done_as_another_command_is_not_asked_again_where_its_outcome_is_gone(
    sandbox: Sandbox,
):
    paid, order = orders_of(0, 2)
    await say(sandbox, *opened(paid, order), *invoiced(paid))
    await until_published(sandbox, "settlement.confirmed", 1)
    await everything_is_answered(sandbox, "error")
    await say(sandbox, *invoiced(order))
    await until_asked(sandbox, 1, "SELECT count(*) FROM delivery.commands WHERE state = 'waiting' AND uncertain")
    await back_up(sandbox)
    await everything_is_answered(sandbox, "decline")
    await until_published(sandbox, "settlement.failed", 1)
    await everything_is_answered(sandbox, "ok")
    [(declined,)] = await rows(sandbox, "SELECT command_id FROM delivery.commands WHERE state = 'declined'")
    await people(sandbox, lambda typed: commands.retry(typed, ANA, declined))
    await until_at_rest(sandbox, 2)
    await until_kafka_knows(sandbox, names.OUTCOMES)
    await crash_and_restore(sandbox)
    await lose_records(sandbox, names.OUTCOMES)

    sandbox.processes.must_run("recover")
    sandbox.start_workers()

    await until_at_rest(sandbox, 2)
    assert sorted(await rows(sandbox, "SELECT order_id, sequence, state FROM delivery.commands")) == sorted([
        (paid, 1, "succeeded"), (order, 1, "declined"), (order, 2, "succeeded"),
    ])  # fmt: skip
    await each_was_done_once(sandbox, 2 * TOTAL)


async def test_what_people_decided_since_the_backup_is_applied_once_and_the_books_are_those_before(sandbox: Sandbox):
    """Two commands end badly again after somebody had asked again: their dead letters are open again."""
    retried, abandoned, resolved, later, lapsed, before_it, since = orders_of(0, 4) + orders_of(1, 3)
    expired = authorized(lapsed, TOTAL, [("rede", TOTAL)])
    expired.data["payments"][0]["expiresAt"] = "2020-01-01T00:00:00Z"
    await say(sandbox, *opened(retried, abandoned, resolved, later, before_it, since), expired, *invoiced(lapsed))
    await everything_is_answered(sandbox, "decline")
    await say(sandbox, *invoiced(retried, abandoned))
    await until_published(sandbox, "settlement.failed", 3)
    await everything_is_answered(sandbox, "manual")
    await say(sandbox, *invoiced(resolved))
    await until_published(sandbox, "command.manual", 1)
    await everything_is_answered(sandbox, "echo")
    await say(sandbox, *invoiced(before_it, since))
    await until_published(sandbox, "command.suspect", 2)
    of = dict(await rows(sandbox, "SELECT order_id, command_id FROM delivery.commands"))
    await everything_is_answered(sandbox, "error")
    await people(sandbox, lambda typed: commands.retry(typed, ANA, of[before_it]))
    await until_asked(sandbox, 4, OPEN)
    await back_up(sandbox)
    await everything_is_answered(sandbox, "echo")
    await until_published(sandbox, "command.suspect", 3)
    await people(sandbox, lambda typed: commands.retry(typed, ANA, of[since]))
    await until_published(sandbox, "command.suspect", 4)
    await everything_is_answered(sandbox, "decline")
    await say(sandbox, *invoiced(later))
    await until_published(sandbox, "settlement.failed", 4)
    await everything_is_answered(sandbox, "ok")

    of = dict(await rows(sandbox, "SELECT order_id, command_id FROM delivery.commands"))
    await people(sandbox, lambda typed: commands.retry(typed, ANA, of[retried]))
    await people(sandbox, lambda typed: commands.retry(typed, ANA, of[later]))
    await people(sandbox, lambda typed: commands.abandon(typed, ANA, of[abandoned]))
    await people(sandbox, lambda typed: commands.resolve(typed, ANA, of[resolved], done=TOTAL, operation_id="by-hand"))
    await people(sandbox, lambda typed: commands.abandon_amount(typed, ANA, lapsed, invoice="1"))
    await until_at_rest(sandbox, 5)
    before = await books(sandbox)
    await crash_and_restore(sandbox)

    assert (await recover(sandbox))["decisions"] == 6
    assert await books(sandbox) == before
    sandbox.start_workers()
    await until_at_rest(sandbox, 5)
    assert await books(sandbox) == before
    await each_was_done_once(sandbox, 4 * TOTAL)


async def test_a_dead_letter_since_the_backup_is_back_and_a_replay_is_counted_once_and_for_its_own_letter(
    sandbox: Sandbox,
):
    known, replayed = orders_of(1, 2)
    [untouched] = orders_of(0, 1)
    await say(sandbox, *(authorized(one, 5_000, [("cielo", TOTAL)]) for one in (known, replayed, untouched)))
    await say(sandbox, *changed(-6_000, known))
    await until_published(sandbox, "change.rejected", 1)
    await back_up(sandbox)
    await say(sandbox, *changed(-6_000, replayed))
    await until_published(sandbox, "change.rejected", 2)
    await say(sandbox, *changed(-6_000, untouched))
    await until_published(sandbox, "change.rejected", 3)
    await say(sandbox, *changed(3_000, known, replayed, untouched))
    await until_published(sandbox, "change.accepted", 3)
    await replay(sandbox, known, replayed)
    await until_published(sandbox, "change.accepted", 5)
    await until_at_rest(sandbox, 0)
    before = await books(sandbox)
    await crash_and_restore(sandbox)

    assert (await recover(sandbox))["dead_letters"] == 2
    sandbox.start_workers()
    await until_at_rest(sandbox, 0)
    assert await books(sandbox) == before
    # That a person had replayed one which the backup did not have, no topic knows: it is shown again.
    assert dict(await rows(sandbox, "SELECT order_id, status FROM ledger.dead_letters")) == {
        known: "replayed", replayed: "open", untouched: "open",
    }  # fmt: skip

    await replay(sandbox, replayed, untouched)
    await until_published(sandbox, "change.accepted", 6)
    await until_at_rest(sandbox, 0)
    assert await rows(sandbox, "SELECT DISTINCT status, count(*) OVER () FROM ledger.dead_letters") == [("replayed", 3)]
    assert [sandbox.poll().orders[one]["value"] for one in (known, replayed, untouched)] == [2_000] * 3
    await is_sound(sandbox)


async def test_what_waited_in_the_backup_or_began_to_wait_since_ends_as_it_would_have(sandbox: Sandbox):
    woken, asleep, passing, waiting = orders_of(0, 4)
    await say(sandbox, *invoiced(woken, asleep))
    await until_asked(sandbox, 2, "SELECT count(*) FROM ledger.parked")
    await back_up(sandbox)
    await say(sandbox, *invoiced(passing, waiting))
    await until_asked(sandbox, 4, "SELECT count(*) FROM ledger.parked")
    await say(sandbox, *opened(woken, passing))
    await until_at_rest(sandbox, 2)
    before = await books(sandbox)
    await crash_and_restore(sandbox)

    await recover(sandbox)
    assert await rows(sandbox, "SELECT order_id FROM ledger.parked") == [(asleep,)]
    sandbox.start_workers()
    await until_at_rest(sandbox, 2)
    assert await books(sandbox) == before

    await say(sandbox, *opened(asleep, waiting))
    await until_at_rest(sandbox, 4)
    await each_was_done_once(sandbox, 4 * TOTAL)


async def test_what_began_to_wait_since_the_backup_and_is_deleted_is_told_and_may_be_published_again(sandbox: Sandbox):
    applied, waiting = orders_of(0, 2)
    await back_up(sandbox)
    await say(sandbox, *opened(applied), *invoiced(applied, waiting), *invoiced(applied))
    await until_at_rest(sandbox, 1)
    await until_kafka_knows(sandbox, names.INVOICES)
    await crash_and_restore(sandbox)
    await lose_records(sandbox, names.INVOICES)

    said = sandbox.processes.must_run("recover")

    place = f"{sandbox.settings.topic(names.INVOICES)} partition 0"
    assert f"{place}: retention has deleted offsets 0 to 2, and 2 of these records left no trace" in said
    await is_sound(sandbox)
    sandbox.start_workers()
    await say(sandbox, *invoiced(applied, waiting), *opened(waiting))
    await until_at_rest(sandbox, 2)
    await each_was_done_once(sandbox, 2 * TOTAL)


async def test_an_automatic_settlement_that_is_held_comes_back_also_where_retention_has_deleted_its_record(
    sandbox: Sandbox,
):
    [order] = orders_of(0, 1)
    await say(sandbox, authorized(order, 5_000, [("cielo", TOTAL)]))
    await until_published(sandbox, "order.opened", 1)
    await everything_is_answered(sandbox, "error")
    await say(sandbox, invoice(order, "1", 4_000))
    await until_asked(sandbox, 1, "SELECT count(*) FROM delivery.commands WHERE state = 'waiting' AND uncertain")
    await back_up(sandbox)
    held = {"orderId": order, "paymentId": f"{order}-cielo", "settleId": "by-itself", "value": TOTAL}
    await say(sandbox, Message(names.ORDER_CHANGES, "payment.auto_settled", held))
    await until_asked(sandbox, 1, "SELECT count(*) FROM ledger.parked WHERE waits_for = 'judgement'")
    await say(sandbox, *changed(3_000, order))
    await until_published(sandbox, "change.accepted", 1)
    await until_kafka_knows(sandbox, names.ORDER_CHANGES)
    await crash_and_restore(sandbox)
    await lose_records(sandbox, names.ORDER_CHANGES)

    sandbox.processes.must_run("recover")
    await everything_is_answered(sandbox, "ok")
    sandbox.start_workers()

    await until_published(sandbox, "payment.suspect", 1)
    await is_sound(sandbox)


async def test_while_a_worker_runs_nothing_is_taken_back_and_the_worker_is_not_disturbed(sandbox: Sandbox):
    await say(sandbox, *opened("order-1"))
    await until_published(sandbox, "order.opened", 1)
    owners = "SELECT partition, owner, epoch FROM ledger.partitions"
    before = await rows(sandbox, owners)

    done = sandbox.processes.run("recover")
    assert done.returncode == REFUSED
    assert "a ledger worker is running" in done.stderr
    assert "stop all workers first" in done.stderr
    assert await rows(sandbox, owners) == before
    await say(sandbox, *invoiced("order-1"))
    await until_at_rest(sandbox, 1)

    await asyncio.to_thread(sandbox.processes.stop, "ledger")
    with pytest.raises(RecoveryError, match="a delivery worker is running"):
        await run_recovery(sandbox.settings, nobody)
    await asyncio.to_thread(sandbox.processes.stop, "delivery")
    await recover(sandbox)
    await each_was_done_once(sandbox, TOTAL)


async def test_a_worker_that_starts_while_a_recovery_is_at_work_waits_for_its_end_and_another_recovery_is_refused(
    sandbox: Sandbox,
):
    await say(sandbox, *opened("order-1", "order-2"))
    await until_published(sandbox, "order.opened", 2)
    await until_asked(sandbox, 2 * PARTITIONS, OWNED)
    await back_up(sandbox)
    await say(sandbox, *invoiced("order-1"))
    await until_at_rest(sandbox, 1)
    await crash_and_restore(sandbox)
    await say(sandbox, *invoiced("order-2"))
    asked, facts = await requests(sandbox), await ask(sandbox, "SELECT count(*) FROM ledger.facts")

    async with recovery_at_work(sandbox) as transaction:
        with pytest.raises(RecoveryError, match="another recovery is using this database"):
            await run_recovery(sandbox.settings, nobody)
        sandbox.start_workers()
        await until_asked(sandbox, 2, BEATING)
        assert await ask(sandbox, OWNED) == 0
        assert await ask(sandbox, "SELECT count(*) FROM ledger.facts") == facts
        assert await requests(sandbox) == asked
        await transaction.commit()

    await until_asked(sandbox, 2 * PARTITIONS, OWNED)
    await until_at_rest(sandbox, 2)
    await each_was_done_once(sandbox, 2 * TOTAL)
