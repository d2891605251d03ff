"""The live view says what the books say: after kills of everything, and when Kafka has lost its tables."""

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


async def test_the_view_equals_the_books_after_kills_and_after_its_tables_are_lost(
    stack: StackEnv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPS_PORT", "0")
    told = list(erp_orders(ORDERS, sorted(CONNECTORS), secrets.randbits(32), "view"))
    async with (
        Sandbox(f"view_{secrets.token_hex(3)}", tmp_path, stack.as_settings()) as sandbox,
        asyncio.timeout(SECONDS_MAX),
    ):
        sandbox.processes.start("ops", "ops")
        sending = asyncio.create_task(publish(sandbox.settings, told, per_second=ORDERS / 10))
        await _until_kept(sandbox.settings)
        sandbox.processes.kill("ops")
        for victim in ("ledger", "delivery"):
            sandbox.processes.kill(victim)
            former = await _epochs(sandbox, victim)
            sandbox.processes.start(victim, victim)
            await until(partial(_all_taken_since, sandbox, victim, former), SECONDS_MAX)
        await sending
        await until_done(sandbox, told)
        sandbox.processes.stop("ledger", "delivery")
        books = await _books(sandbox.environment["DATABASE_URL"])

        with monkeypatch.context() as slow:
            slow.setattr("worker.ops.view.BATCH_RECORDS_MAX", 50)
            slow.setattr(Consumer, "perform_seek", _slowly(Consumer.perform_seek))
            async with watching(sandbox.settings) as view:
                await _until_equal(view, books)
        await _lose_tables(sandbox.settings)
        async with watching(sandbox.settings) as view:
            await _until_equal(view, books)


async def _epochs(sandbox: Sandbox, role: str) -> list[tuple]:
    return await rows(sandbox, f"SELECT epoch FROM {role}.partitions WHERE owner IS NOT NULL ORDER BY partition")


async def _all_taken_since(sandbox: Sandbox, role: str, former: list[tuple]) -> bool:
    """Whoever was started in the place of the killed one has every partition."""
    now = await _epochs(sandbox, role)
    return len(now) == sandbox.settings.topic_partitions and all(
        new > old for new, old in zip(now, former, strict=True)
    )


def _slowly(seek: Callable[[Consumer], Awaitable[None]]) -> Callable[[Consumer], Awaitable[None]]:
    """The seek of a busy broker: whatever flows before it is done has the time to."""

    async def slow(consumer: Consumer) -> None:
        await asyncio.sleep(SEEK_SECONDS)
        await seek(consumer)

    return slow


async def _until_kept(settings: Settings) -> None:
    """The view has written rows: only a kill after that leaves it something to recover."""
    consumer = AIOKafkaConsumer(**client_options(settings))
    await consumer.start()
    try:
        rows = settings.topic(next(iter(CHANGELOGS)))
        places = [TopicPartition(rows, partition) for partition in range(settings.topic_partitions)]
        while True:
            with contextlib.suppress(KafkaError):  # the view makes the topic
                if any((await consumer.end_offsets(places)).values()):
                    return
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        await consumer.stop()


async def _books(url: str) -> dict[str, Any]:
    """What the ledger knows, in the view's words."""
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
    orders = [order_state(msgspec.json.decode(row["document"], type=Order)) for row in documents]
    return {
        "states": {one["orderId"]: DECODERS["state"](msgspec.json.encode(one)) for one in orders},
        "moved": {name: amount for name, amount in moved if amount},
        "events": Counter(msgspec.json.decode(row["message"])["type"] for row in events),
    }


async def _until_equal(view: View, books: dict[str, Any]) -> None:
    """The view comes to say the same; if it does not, the difference is what the test shows."""
    deadline = asyncio.get_running_loop().time() + 60
    expected = books["states"], books["moved"], books["events"]
    while asyncio.get_running_loop().time() < deadline:
        is_quiet = not view.incomplete_reason() and not view.totals.open_commands
        if is_quiet and (*_states_and_moved(view), _events(view)) == expected:
            break
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1), view.changed:
                await view.changed.wait()
    states, moved = _states_and_moved(view)
    assert states == books["states"]
    assert moved == books["moved"]
    assert not view.totals.open_commands
    # Every event counts once, however often it was published, and whoever was killed.
    assert _events(view) == books["events"]
    assert positive(view.totals.statuses) == Counter(one.status for one in books["states"].values())


def _states_and_moved(view: View) -> tuple[dict[str, State | None], dict[str, int]]:
    moved: Counter[str] = Counter()
    for sums in view.totals.moved.values():
        moved.update(sums)
    return {key.decode(): row.state for key, row in view.rows.data.items()}, dict(+moved)


def _events(view: View) -> Counter[str]:
    """Events of every type, over all minutes that the table has."""
    found: Counter[str] = Counter()
    for (name, _), count in view.rates.table.items():
        if "." in name and " " not in name:
            found[name] += count.number
    return found


async def _lose_tables(settings: Settings) -> None:
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    try:
        await admin.delete_topics([settings.topic(next(iter(CHANGELOGS)))])
    finally:
        await admin.close()


@asynccontextmanager
async def program(*arguments: str, env: dict[str, str], **outputs: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Python of its own, which is gone afterwards whatever it did."""
    running = await asyncio.create_subprocess_exec(sys.executable, *arguments, env=os.environ | env, **outputs)
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()


async def test_a_view_that_is_told_to_stop_while_it_still_waits_for_kafka_stops(stack: StackEnv) -> None:
    asked = asyncio.Event()

    async def says_nothing(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await gone.wait()
        writer.close()

    gone = asyncio.Event()
    broker = await asyncio.start_server(says_nothing, "127.0.0.1", 0)
    host, port = broker.sockets[0].getsockname()
    environment = {**stack.as_settings(), "KAFKA_BOOTSTRAP_SERVERS": f"{host}:{port}", "OPS_PORT": "0"}
    try:
        async with asyncio.timeout(30), program("-m", "worker", "ops", env=environment) as view:
            await asked.wait()
            view.terminate()
            assert await view.wait() == 0
    finally:
        gone.set()
        broker.close()
        await broker.wait_closed()


async def test_a_view_that_is_told_of_another_number_of_partitions_takes_no_tables_away(
    stack: StackEnv, topic_prefix: str
) -> None:
    environment = {**stack.as_settings(), "TOPIC_PREFIX": topic_prefix, "TOPIC_PARTITIONS": "2"}
    settings = load(environment)
    await create_missing(settings)
    async with watching(settings), admin_client(settings) as admin:
        before = await partition_counts(admin, settings, CHANGELOGS)

        with pytest.raises(TopicsError, match="has 2 partitions, but TOPIC_PARTITIONS is 1"):
            await View(load(environment | {"TOPIC_PARTITIONS": "1"})).start()

        assert await partition_counts(admin, settings, CHANGELOGS) == before


async def test_a_topic_that_is_gone_under_the_view_is_named_and_the_one_made_anew_ends_it(
    stack: StackEnv, topic_prefix: str
) -> None:
    settings = load({**stack.as_settings(), "TOPIC_PREFIX": topic_prefix, "TOPIC_PARTITIONS": "2"})
    orders = settings.topic(STATES)
    await create_missing(settings)
    async with watching(settings) as view, admin_client(settings) as admin:

        async def whole() -> bool:
            return view.incomplete_reason() is None

        async def names_it() -> bool:
            return view.incomplete_reason() == f"the topic {orders} is missing: `settlement topics` creates it"

        async def has_to_begin_again() -> bool:
            return view.fatal_reason() == f"the topic {orders} was deleted and made anew: the view begins with it again"

        await until(whole, SECONDS_MAX)
        await admin.delete_topics([orders])
        await until(names_it, SECONDS_MAX)
        await create_missing(settings)
        await until(has_to_begin_again, SECONDS_MAX)


async def test_a_view_that_was_away_for_longer_than_records_are_kept_lacks_nothing_that_it_could_read(
    stack: StackEnv, topic_prefix: str
) -> None:
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


async def test_a_view_that_its_group_does_not_take_says_so_and_does_not_wait_for_ever(
    stack: StackEnv, topic_prefix: str
) -> None:
    environment = {**stack.as_settings(), "TOPIC_PREFIX": topic_prefix, "TOPIC_PARTITIONS": "2", "OPS_PORT": "0"}
    settings = load(environment)
    await create_missing(settings)
    async with watching(settings) as view:
        await until(lambda: view.incomplete_reason() is None, SECONDS_MAX)
    async with consumer(settings, group_id=settings.topic(group(ROLE))) as other:  # which divides partitions otherwise
        other.subscribe([settings.topic(STATES)])
        await until(other.assignment, SECONDS_MAX)

        stderr = asyncio.subprocess.PIPE
        async with asyncio.timeout(60), program("-m", "worker", "ops", env=environment, stderr=stderr) as refused:
            _, said = await refused.communicate()

    assert refused.returncode == 1
    assert "Kafka does not admit us to our group: a program of another kind is in it" in said.decode()
    assert "Traceback" not in said.decode()


async def _never() -> None:
    await asyncio.Event().wait()


async def _fails() -> None:
    raise RuntimeError("Event loop is closed")


async def _given_up() -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize("stop", [_never, _fails, _given_up])
async def test_a_view_whose_clients_do_not_end_as_they_should_ends_all_the_same(
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


async def test_a_view_whose_clients_heed_no_end_is_a_program_that_ends_all_the_same(
    stack: StackEnv, topic_prefix: str
) -> None:
    """Whoever runs it starts it again: it stood there for ever, its port closed, after certificates were replaced."""
    environment = {**stack.as_settings(), "TOPIC_PREFIX": topic_prefix, "TOPIC_PARTITIONS": "2", "OPS_PORT": "0"}
    await create_missing(load(environment))
    stdout = asyncio.subprocess.PIPE
    async with asyncio.timeout(60), program("-c", DEAF, "ops", env=environment, stdout=stdout) as view:
        assert view.stdout is not None
        address = (await view.stdout.readline()).decode().split()[-1]

        async def whole() -> bool:
            async with aiohttp.ClientSession() as session, session.get(f"{address}/ready") as answer:
                return "view" not in await answer.json()

        await until(whole, 30)
        view.terminate()
        assert await view.wait() == 0
