"""Connector settings that change while calls are in flight: no call is cut off, and no connection stays open."""

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
# Unclosed connections are checked through the event loop's exception handler, which writes to the log.
pytestmark = pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning")


class ConnectorServer:
    """A connector that keeps its connections, and answers once `answers` is set."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.requests = 0
        self.connected = 0
        self.closed = 0
        """Connections that the client closed."""

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def settings(self, **changed: Any) -> Connector:
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
                self.requests += 1
                await self.answers.wait()
                writer.write(http(200, GOOD))
        except (asyncio.IncompleteReadError, ConnectionError):
            self.closed += 1
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[ConnectorServer]:
    server = ConnectorServer()
    await server.open()
    yield server
    server.answers.set()
    server.close()


@pytest.fixture
async def new_server(server: ConnectorServer) -> AsyncIterator[ConnectorServer]:
    """The connector at the address of the changed settings."""
    new_server = ConnectorServer()
    await new_server.open()
    new_server.answers.set()
    yield new_server
    new_server.close()


@pytest.fixture
async def unclosed() -> AsyncIterator[list[dict[str, Any]]]:
    """Reports to the event loop about unclosed connections."""
    loop = asyncio.get_running_loop()
    reports: list[dict[str, Any]] = []
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: reports.append(context))
    yield reports
    loop.set_exception_handler(before)


class Sender:
    """A `Sending` and the lane of its only connector."""

    def __init__(self, settings: Connector) -> None:
        control = Control(load({
            "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "DATABASE_URL": "postgresql://127.0.0.1:9/none",
        }))  # fmt: skip
        control.epochs, control.lease_ends = {0: 1}, lease_time() + 3600
        self.sending = Sending(control)
        self.lane = Lane("acme")
        self.lane.set_connector(settings)
        self._numbers: Iterator[int] = iter(range(100))

    def begin_call(self) -> None:
        command = msgspec.structs.replace(COMMAND, command_id=f"c{next(self._numbers)}")
        record = Record(names.COMMANDS, 0, 0, b"o1", b"{}", [], 0)
        job = Job(command=command, operation="settle", record=record, partition=0, traceparent=None)
        self.lane.in_flight += 1
        self.sending.begin(job, 1, self.lane)

    def reload(self, settings: Connector) -> None:
        """Changes the connector's settings, as SIGHUP does."""
        self.sending.replace_clients({"acme": settings})
        self.lane.set_connector(settings)

    def fates(self) -> list[str]:
        return [result.answer.fate for result in self.sending.results]

    async def until_answered(self) -> None:
        await self.sending.wait_until_answered(frozenset({0}))


async def until_counts(server: ConnectorServer, **counts: int) -> None:
    await until(lambda: all(getattr(server, name) == count for name, count in counts.items()), PATIENCE_SECONDS)


async def test_idle_connections_are_closed_when_the_connector_changes(
    server: ConnectorServer, new_server: ConnectorServer, unclosed: list[dict[str, Any]]
):
    server.answers.set()
    sender = Sender(server.settings())
    sender.begin_call()
    await sender.until_answered()

    sender.reload(new_server.settings())
    await until_counts(server, closed=1)
    sender.begin_call()
    await sender.until_answered()
    await sender.sending.close()
    await until_counts(new_server, closed=1)
    gc.collect()

    assert sender.fates() == ["succeeded", "succeeded"]
    assert unclosed == []


async def test_a_call_in_flight_gets_its_answer_before_its_connection_is_closed(
    server: ConnectorServer, new_server: ConnectorServer, unclosed: list[dict[str, Any]]
):
    sender = Sender(server.settings())
    sender.begin_call()
    await until_counts(server, requests=1)

    sender.reload(new_server.settings())
    sender.begin_call()
    await until(sender.fates, PATIENCE_SECONDS)
    assert server.closed == 0

    server.answers.set()
    await sender.until_answered()
    await until_counts(server, closed=1)
    gc.collect()

    assert (sender.fates(), new_server.requests) == (["succeeded", "succeeded"], 1)
    assert unclosed == []
    await sender.sending.close()


async def test_a_forgotten_call_gets_its_answer_before_its_connection_is_closed(
    server: ConnectorServer, new_server: ConnectorServer
):
    sender = Sender(server.settings())
    sender.begin_call()
    await until_counts(server, requests=1)
    sender.sending.forget()
    sender.reload(new_server.settings())
    assert sender.lane.in_flight == 1

    server.answers.set()
    await until_counts(server, closed=1)

    assert (sender.lane.in_flight, sender.fates()) == (0, [])
    await sender.sending.close()


async def test_a_stop_also_closes_the_connections_of_the_old_settings(
    server: ConnectorServer, new_server: ConnectorServer, unclosed: list[dict[str, Any]]
):
    sender = Sender(server.settings())
    sender.begin_call()
    await until_counts(server, requests=1)
    sender.reload(new_server.settings())

    await sender.sending.close()
    await sender.until_answered()
    server.answers.set()
    await until_counts(server, closed=1)
    gc.collect()

    assert sender.fates() == ["unknown"]
    assert unclosed == []


async def test_a_call_begun_before_a_change_uses_the_old_settings_and_later_ones_the_new(
    server: ConnectorServer, new_server: ConnectorServer, unclosed: list[dict[str, Any]]
):
    server.answers.set()
    sender = Sender(server.settings())
    sender.begin_call()
    sender.reload(new_server.settings())
    await sender.until_answered()
    sender.begin_call()
    await sender.until_answered()

    assert (server.requests, new_server.requests) == (1, 1)
    await until_counts(server, closed=1)
    await sender.sending.close()
    gc.collect()
    assert unclosed == []


async def test_unchanged_settings_keep_their_connections(server: ConnectorServer):
    server.answers.set()
    sender = Sender(server.settings())
    sender.begin_call()
    await sender.until_answered()

    sender.reload(server.settings())
    sender.begin_call()
    await sender.until_answered()

    assert (server.requests, server.connected, server.closed) == (2, 1, 0)
    await sender.sending.close()
