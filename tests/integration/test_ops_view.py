"""The live view equals the ledger after kills and lost tables, and it stops and reports faults as it should."""

import asyncio
import contextlib
import os
import secrets
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import KafkaError
from faust.transport.consumer import Consumer

from tests.integration.restoring import rows
from tests.sandboxes import until_done
from tests.until import until
from worker.domain.order import Order
from worker.domain.published import order_state
from worker.kafka.connecting import admin_client, client_options, consumer
from worker.kafka.murmur2 import partition_of
from worker.kafka.names import EVENTS, group
from worker.kafka.names import ORDERS as STATES
from worker.kafka.records import Outgoing
from worker.kafka.sink import Sink
from worker.kafka.topics import TopicsError, create_missing, partition_counts
from worker.ops.row import DECODERS, State
from worker.ops.totals import positive
from worker.ops.view import CHANGELOGS, ROLE, View
from worker.sandbox.deployment import CONNECTORS, Sandbox
from worker.sandbox.erp import erp_orders
from worker.sandbox.erp_command import publish
from worker.settings import Settings, load
from worker.stack import StackEnv

ORDERS = 150
SECONDS_MAX = 200
LOOK_SECONDS = 0.1
SEEK_SECONDS = 1.2  # longer than Faust waits for one fetch


@asynccontextmanager
async def watching(settings: Settings) -> AsyncIterator[View]:
    view = View(settings)
    await view.start()
    try:
        yield view
    finally:
        await view.stop()


async def test_the_view_equals_the_ledger_after_kills_and_after_its_tables_are_lost(
    stack: StackEnv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPS_PORT", "0")
    orders = list(erp_orders(ORDERS, sorted(CONNECTORS), secrets.randbits(32), "view"))
    async with (
        Sandbox(f"view_{secrets.token_hex(3)}", tmp_path, stack.as_settings()) as sandbox,
        asyncio.timeout(SECONDS_MAX),
    ):
        sandbox.processes.start("ops", "ops")
        sending = asyncio.create_task(publish(sandbox.settings, orders, per_second=ORDERS / 10))
        await _until_rows_written(sandbox.settings)
        sandbox.processes.kill("ops")
        for victim in ("ledger", "delivery"):
            sandbox.processes.kill(victim)
            former = await _epochs(sandbox, victim)
            sandbox.processes.start(victim, victim)
            await until(partial(_all_taken_over_since, sandbox, victim, former), SECONDS_MAX)
        await sending
        await until_done(sandbox, orders)
        sandbox.processes.stop("ledger", "delivery")
        ledger = await _ledger_state(sandbox.environment["DATABASE_URL"])

        with monkeypatch.context() as slow:
            slow.setattr("worker.ops.view.BATCH_RECORDS_MAX", 50)
            slow.setattr(Consumer, "perform_seek", _slowly(Consumer.perform_seek))
            async with watching(sandbox.settings) as view:
                await _until_equal(view, ledger)
        await _lose_tables(sandbox.settings)
        async with watching(sandbox.settings) as view:
            await _until_equal(view, ledger)


async def _epochs(sandbox: Sandbox, role: str) -> list[tuple]:
    return await rows(sandbox, f"SELECT epoch FROM {role}.partitions WHERE owner IS NOT NULL ORDER BY partition")


async def _all_taken_over_since(sandbox: Sandbox, role: str, former: list[tuple]) -> bool:
    """Whether the worker that replaced the killed one owns every partition."""
    current = await _epochs(sandbox, role)
    return len(current) == sandbox.settings.topic_partitions and all(
        new > old for new, old in zip(current, former, strict=True)
    )


def _slowly(seek: Callable[[Consumer], Awaitable[None]]) -> Callable[[Consumer], Awaitable[None]]:
    """A slow seek, as on a busy broker: records have time to arrive before it is done."""

    async def slow(consumer: Consumer) -> None:
        await asyncio.sleep(SEEK_SECONDS)
        await seek(consumer)

    return slow


async def _until_rows_written(settings: Settings) -> None:
    """Waits until the view has written rows, so that a kill leaves it something to recover."""
    consumer = AIOKafkaConsumer(**client_options(settings))
    await consumer.start()
    try:
        rows = settings.topic(next(iter(CHANGELOGS)))
        places = [TopicPartition(rows, partition) for partition in range(settings.topic_partitions)]
        while True:
            with contextlib.suppress(KafkaError):  # the view creates the topic
                if any((await consumer.end_offsets(places)).values()):
                    return
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        await consumer.stop()


async def _ledger_state(url: str) -> dict[str, Any]:
    """The ledger's states, sums and event counts, in the types of the view."""
    connection = await asyncpg.connect(url)
    try:
        documents = await connection.fetch("SELECT document FROM ledger.orders WHERE opened")
        events = await connection.fetch("SELECT message FROM ledger.events")
        moved = await connection.fetch(
            "SELECT credit, sum(amount)::bigint FROM ledger.entries WHERE credit IN ('refunded', 'voided') GROUP BY 1"
            " UNION ALL SELECT 'settled', sum(amount)::bigint FROM ledger.entries"
            " WHERE credit = 'settled' AND debit <> 'refunding'"
        )
    finally:
        await connection.close()
    states = [order_state(msgspec.json.decode(row["document"], type=Order)) for row in documents]
    return {
        "states": {state["orderId"]: DECODERS["state"](msgspec.json.encode(state)) for state in states},
        "moved": {name: amount for name, amount in moved if amount},
        "events": Counter(msgspec.json.decode(row["message"])["type"] for row in events),
    }


async def _until_equal(view: View, ledger: dict[str, Any]) -> None:
    """Waits until the view equals the ledger; a failure shows the difference."""
    deadline = asyncio.get_running_loop().time() + 60
    expected = ledger["states"], ledger["moved"], ledger["events"]
    while asyncio.get_running_loop().time() < deadline:
        is_quiet = not view.incomplete_reason() and not view.totals.open_commands
        if is_quiet and (*_states_and_moved(view), _events(view)) == expected:
            break
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1), view.changed:
                await view.changed.wait()
    states, moved = _states_and_moved(view)
    assert states == ledger["states"]
    assert moved == ledger["moved"]
    assert not view.totals.open_commands
    # Every event counts once, however often it was published.
    assert _events(view) == ledger["events"]
    assert positive(view.totals.statuses) == Counter(state.status for state in ledger["states"].values())


def _states_and_moved(view: View) -> tuple[dict[str, State | None], dict[str, int]]:
    moved: Counter[str] = Counter()
    for sums in view.totals.moved.values():
        moved.update(sums)
    return {key.decode(): row.state for key, row in view.rows.data.items()}, dict(+moved)


def _events(view: View) -> Counter[str]:
    """The number of events of each type, over all minutes in the table."""
    numbers: Counter[str] = Counter()
    for (name, _), count in view.rates.table.items():
        if "." in name and " " not in name:
            numbers[name] += count.number
    return numbers


async def _lose_tables(settings: Settings) -> None:
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    try:
        await admin.delete_topics([settings.topic(next(iter(CHANGELOGS)))])
    finally:
        await admin.close()


@asynccontextmanager
async def program(*arguments: str, env: dict[str, str], **outputs: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """Runs a Python process and kills it at the end if it still runs."""
    running = await asyncio.create_subprocess_exec(sys.executable, *arguments, env=os.environ | env, **outputs)
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()


async def test_a_view_can_be_stopped_while_it_waits_for_kafka(stack: StackEnv) -> None:
    contacted = asyncio.Event()

    async def never_answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        contacted.set()
        await done.wait()
        writer.close()

    done = asyncio.Event()
    broker = await asyncio.start_server(never_answer, "127.0.0.1", 0)
    host, port = broker.sockets[0].getsockname()
    environment = {**stack.as_settings(), "KAFKA_BOOTSTRAP_SERVERS": f"{host}:{port}", "OPS_PORT": "0"}
    try:
        async with asyncio.timeout(30), program("-m", "worker", "ops", env=environment) as view:
            await contacted.wait()
            view.terminate()
            assert await view.wait() == 0
    finally:
        done.set()
        broker.close()
        await broker.wait_closed()


async def test_a_view_with_a_wrong_number_of_partitions_deletes_no_tables(stack: StackEnv, topic_prefix: str) -> None:
    environment = {**stack.as_settings(), "TOPIC_PREFIX": topic_prefix, "TOPIC_PARTITIONS": "2"}
    settings = load(environment)
    await create_missing(settings)
    async with watching(settings), admin_client(settings) as admin:
        before = await partition_counts(admin, settings, CHANGELOGS)

        with pytest.raises(TopicsError, match="has 2 partitions, but TOPIC_PARTITIONS is 1"):
            await View(load(environment | {"TOPIC_PARTITIONS": "1"})).start()

        assert await partition_counts(admin, settings, CHANGELOGS) == before


async def test_a_view_reports_a_deleted_topic_and_ends_once_it_is_recreated(stack: StackEnv, topic_prefix: str) -> None:
    settings = load({**stack.as_settings(), "TOPIC_PREFIX": topic_prefix, "TOPIC_PARTITIONS": "2"})
    orders = settings.topic(STATES)
    await create_missing(settings)
    async with watching(settings) as view, admin_client(settings) as admin:

        async def is_complete() -> bool:
            return view.incomplete_reason() is None

        async def reports_missing_topic() -> bool:
            return view.incomplete_reason() == f"the topic {orders} is missing: `settlement topics` creates it"

        async def must_end() -> bool:
            return view.fatal_reason() == f"the topic {orders} was deleted and made anew: the view begins with it again"

        await until(is_complete, SECONDS_MAX)
        await admin.delete_topics([orders])
        await until(reports_missing_topic, SECONDS_MAX)
        await create_missing(settings)
        await until(must_end, SECONDS_MAX)


async def test_a_view_that_was_down_beyond_retention_becomes_complete_again(stack: StackEnv, topic_prefix: str) -> None:
    settings = load({**stack.as_settings(), "TOPIC_PREFIX": topic_prefix, "TOPIC_PARTITIONS": "2"})
    await create_missing(settings)
    async with watching(settings) as view:
        await until(lambda: view.incomplete_reason() is None, SECONDS_MAX)
    async with Sink(settings) as sink, admin_client(settings) as admin:
        await sink.publish([Outgoing(EVENTS, 0, b"A-1", b"{}", [])])
        place = TopicPartition(settings.topic(EVENTS), 0)
        await admin.delete_records({place: RecordsToDelete(before_offset=-1)})  # as retention does

    async with watching(settings) as view:
        await until(lambda: view.incomplete_reason() is None, SECONDS_MAX)


async def test_of_two_views_each_shows_only_the_orders_of_its_own_partitions(
    stack: StackEnv, topic_prefix: str
) -> None:
    settings = load({**stack.as_settings(), "TOPIC_PREFIX": topic_prefix, "TOPIC_PARTITIONS": "2"})
    await create_missing(settings)
    orders = [f"A-{number}" for number in range(8)]
    async with watching(settings) as first:
        async with Sink(settings) as sink:
            await sink.publish([_state(order, settings) for order in orders])
        await until(lambda: len(first.rows.data) == len(orders), SECONDS_MAX)
        async with watching(settings) as second:

            def they_share() -> bool:
                return all("1 partitions are with another" in str(one.incomplete_reason()) for one in (first, second))

            await until(they_share, SECONDS_MAX)
            shown = [{key.decode() for key in one.rows.data} for one in (first, second)]
            sums = [one.totals.statuses["open"] for one in (first, second)]

    assert sorted([*shown[0], *shown[1]]) == orders
    assert sums == [len(one) for one in shown]
    assert all(shown)


def _state(order_id: str, settings: Settings) -> Outgoing:
    """The state of an order as the ledger worker publishes it."""
    order = Order(order_id, merchant="shop", currency="USD", mode="PARTIAL", value=100, phase="open")
    value = msgspec.json.encode(order_state(order))
    return Outgoing(STATES, partition_of(order_id, settings.topic_partitions), order_id.encode(), value, [])


async def test_a_view_that_its_consumer_group_rejects_exits_with_a_message(stack: StackEnv, topic_prefix: str) -> None:
    environment = {**stack.as_settings(), "TOPIC_PREFIX": topic_prefix, "TOPIC_PARTITIONS": "2", "OPS_PORT": "0"}
    settings = load(environment)
    await create_missing(settings)
    async with watching(settings) as view:
        await until(lambda: view.incomplete_reason() is None, SECONDS_MAX)
    async with consumer(settings, group_id=settings.topic(group(ROLE))) as other:  # it has another partition assignor
        other.subscribe([settings.topic(STATES)])
        await until(other.assignment, SECONDS_MAX)

        stderr = asyncio.subprocess.PIPE
        async with asyncio.timeout(60), program("-m", "worker", "ops", env=environment, stderr=stderr) as refused:
            _, errors = await refused.communicate()

    assert refused.returncode == 1
    assert "Kafka does not admit us to our group: a program of another kind is in it" in errors.decode()
    assert "Traceback" not in errors.decode()


async def _hangs() -> None:
    await asyncio.Event().wait()


async def _fails() -> None:
    raise RuntimeError("Event loop is closed")


async def _is_cancelled() -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize("stop", [_hangs, _fails, _is_cancelled])
async def test_a_view_stops_even_if_its_clients_hang_or_fail_while_stopping(
    stack: StackEnv, topic_prefix: str, monkeypatch: pytest.MonkeyPatch, stop: Callable[[], Awaitable[None]]
) -> None:
    view = View(load({**stack.as_settings(), "TOPIC_PREFIX": topic_prefix}))
    monkeypatch.setattr("worker.ops.view.STOP_SECONDS_MAX", 0.01)
    monkeypatch.setattr(view.app, "stop", stop)

    async with asyncio.timeout(10):
        await view.stop()


DEAF = """
import asyncio, contextlib, faust
from worker.cli import main

async def deaf(_):
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

faust.App.stop = deaf
main()
"""


async def test_the_ops_program_exits_even_if_its_clients_ignore_cancellation(
    stack: StackEnv, topic_prefix: str
) -> None:
    """So that its supervisor restarts it: after certificates were replaced it hung forever, with its port closed."""
    environment = {**stack.as_settings(), "TOPIC_PREFIX": topic_prefix, "TOPIC_PARTITIONS": "2", "OPS_PORT": "0"}
    await create_missing(load(environment))
    stdout = asyncio.subprocess.PIPE
    async with asyncio.timeout(60), program("-c", DEAF, "ops", env=environment, stdout=stdout) as view:
        assert view.stdout is not None
        address = (await view.stdout.readline()).decode().split()[-1]

        async def is_complete() -> bool:
            async with aiohttp.ClientSession() as session, session.get(f"{address}/ready") as answer:
                return "view" not in await answer.json()

        await until(is_complete, 30)
        view.terminate()
        assert await view.wait() == 0
