"""A connector's table that changes while calls are under way: none is cut off, and no connection is left behind."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest

from tests.integration.connector_server import COMMAND, GOOD, http
from tests.until import until
from worker.connector.file import Connector
from worker.delivery.job import Job
from worker.delivery.lane import Lane
from worker.delivery.sending import Sending
from worker.kafka import names
from worker.kafka.records import Record
from worker.settings import load
from worker.stream.clock import lease_time
from worker.stream.control import Control

PATIENCE_SECONDS = 10.0
# What the event loop is told of it, and with it the log, is what counts here.
pytestmark = pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning")


class Shop:
    """A connector that keeps its connections, and answers once `answers` is set."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.asked = 0
        self.connected = 0
        self.left = 0
        """Connections that the other side ended."""

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def table(self, **changed: Any) -> Connector:
        return Connector(name="acme", url=f"http://127.0.0.1:{self.port}", protocol="ppp", mode="PARTIAL", **changed)

    def close(self) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connected += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                fields = dict(line.split(b": ", 1) for line in head.lower().splitlines() if b": " in line)
                await reader.readexactly(int(fields[b"content-length"]))
                self.asked += 1
                await self.answers.wait()
                writer.write(http(200, GOOD))
        except (asyncio.IncompleteReadError, ConnectionError):
            self.left += 1
            writer.close()


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    shop = Shop()
    await shop.open()
    yield shop
    shop.answers.set()
    shop.close()


@pytest.fixture
async def moved(shop: Shop) -> AsyncIterator[Shop]:
    """Where the changed table says that the connector is now."""
    moved = Shop()
    await moved.open()
    moved.answers.set()
    yield moved
    moved.close()


@pytest.fixture
async def complaints() -> AsyncIterator[list[dict[str, Any]]]:
    """What the event loop was told of things that nobody closed."""
    loop = asyncio.get_running_loop()
    told: list[dict[str, Any]] = []
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: told.append(context))
    yield told
    loop.set_exception_handler(before)


class Desk:
    """A `Sending`, and the lane of the one connector."""

    def __init__(self, table: Connector) -> None:
        control = Control(load({
            "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "DATABASE_URL": "postgresql://127.0.0.1:9/none",
        }))  # fmt: skip
        control.epochs, control.lease_ends = {0: 1}, lease_time() + 3600
        self.sending = Sending(control)
        self.lane = Lane("acme")
        self.lane.set_connector(table)
        self._numbers: Iterator[int] = iter(range(100))

    def begin(self) -> None:
        command = msgspec.structs.replace(COMMAND, command_id=f"c{next(self._numbers)}")
        record = Record(names.COMMANDS, 0, 0, b"o1", b"{}", [], 0)
        job = Job(command=command, operation="settle", record=record, partition=0, traceparent=None)
        self.lane.in_flight += 1
        self.sending.begin(job, 1, self.lane)

    def change(self, table: Connector) -> None:
        """As SIGHUP does it."""
        self.sending.replace_clients({"acme": table})
        self.lane.set_connector(table)

    def fates(self) -> list[str]:
        return [one.answer.fate for one in self.sending.results]

    async def landed(self) -> None:
        await self.sending.wait_until_answered(frozenset({0}))


async def seen(shop: Shop, **counts: int) -> None:
    await until(lambda: all(getattr(shop, name) == count for name, count in counts.items()), PATIENCE_SECONDS)


async def test_connections_that_nobody_needs_any_more_are_closed_when_the_table_changes(
    shop: Shop, moved: Shop, complaints: list[dict[str, Any]]
):
    shop.answers.set()
    desk = Desk(shop.table())
    desk.begin()
    await desk.landed()

    desk.change(moved.table())
    await seen(shop, left=1)
    desk.begin()
    await desk.landed()
    await desk.sending.close()
    await seen(moved, left=1)
    gc.collect()

    assert desk.fates() == ["succeeded", "succeeded"]
    assert complaints == []


async def test_a_call_under_way_has_its_answer_before_its_connection_is_closed(
    shop: Shop, moved: Shop, complaints: list[dict[str, Any]]
):
    desk = Desk(shop.table())
    desk.begin()
    await seen(shop, asked=1)

    desk.change(moved.table())
    desk.begin()
    await until(desk.fates, PATIENCE_SECONDS)
    assert shop.left == 0

    shop.answers.set()
    await desk.landed()
    await seen(shop, left=1)
    gc.collect()

    assert (desk.fates(), moved.asked) == (["succeeded", "succeeded"], 1)
    assert complaints == []
    await desk.sending.close()


async def test_a_call_that_nobody_waits_for_any_more_is_answered_too(shop: Shop, moved: Shop):
    desk = Desk(shop.table())
    desk.begin()
    await seen(shop, asked=1)
    desk.sending.forget()
    desk.change(moved.table())
    assert desk.lane.in_flight == 1

    shop.answers.set()
    await seen(shop, left=1)

    assert (desk.lane.in_flight, desk.fates()) == (0, [])
    await desk.sending.close()


async def test_a_stop_closes_the_connections_of_the_old_table_too(
    shop: Shop, moved: Shop, complaints: list[dict[str, Any]]
):
    desk = Desk(shop.table())
    desk.begin()
    await seen(shop, asked=1)
    desk.change(moved.table())

    await desk.sending.close()
    await desk.landed()
    shop.answers.set()
    await seen(shop, left=1)
    gc.collect()

    assert desk.fates() == ["unknown"]
    assert complaints == []


async def test_what_began_just_before_the_change_goes_by_the_old_table_and_all_that_follows_by_the_new(
    shop: Shop, moved: Shop, complaints: list[dict[str, Any]]
):
    shop.answers.set()
    desk = Desk(shop.table())
    desk.begin()
    desk.change(moved.table())
    await desk.landed()
    desk.begin()
    await desk.landed()

    assert (shop.asked, moved.asked) == (1, 1)
    await seen(shop, left=1)
    await desk.sending.close()
    gc.collect()
    assert complaints == []


async def test_a_table_that_says_the_same_keeps_its_connections(shop: Shop):
    shop.answers.set()
    desk = Desk(shop.table())
    desk.begin()
    await desk.landed()

    desk.change(shop.table())
    desk.begin()
    await desk.landed()

    assert (shop.asked, shop.connected, shop.left) == (2, 1, 0)
    await desk.sending.close()
