"""A delivery worker in front of a real database and a real connector on loopback, one transaction at a time."""

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import orjson
from aiohttp import web

from tests.integration.cycle_harness import PARTITIONS, CycleHarness, header
from tests.until import until
from worker.delivery.handler import DeliveryHandler
from worker.delivery.lane import Lane
from worker.kafka import names
from worker.kafka.envelope import binary_headers
from worker.kafka.records import Outgoing, Record
from worker.sandbox.book import Book
from worker.sandbox.connector import Behaviour, SandboxConnector
from worker.settings import load
from worker.stream.clock import lease_time
from worker.stream.control import Control
from worker.stream.cycle import TakenPartition

PATIENCE_SECONDS = 20.0


class DeliveryHarness(CycleHarness):
    """`send` makes the record of a command pending, `run_until` runs cycles until commands reach a state."""

    clock_ahead_ms = 0

    def __init__(self, connection: asyncpg.Connection, url: str, folder: Path) -> None:
        self.file = folder / "connectors.toml"
        self.book = Book()
        self.acme = SandboxConnector(self.book, Behaviour(currency="USD"))
        super().__init__(connection, load({
            "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "DATABASE_URL": url, "TOPIC_PREFIX": "t.",
            "TOPIC_PARTITIONS": str(PARTITIONS), "CONNECTORS_FILE": str(self.file),
        }))  # fmt: skip
        self._runner = web.AppRunner(self.acme.application(), access_log=None, shutdown_timeout=0.1)
        self.url = ""
        self.handler: DeliveryHandler
        self._handlers: list[DeliveryHandler] = []

    @property
    def now_ms(self) -> int:
        """The machine's own clock: the connector's delays and the schedule of attempts are real."""
        return time.time_ns() // 1_000_000 + self.clock_ahead_ms

    async def open(self) -> None:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self.connectors(acme="")
        self.start()

    async def close(self) -> None:
        await self.handler.release(frozenset(self.epochs))
        for handler in self._handlers:
            await handler.close()
        await self._runner.cleanup()

    def connectors(self, **tables: str) -> None:
        """Writes the connectors file: every name is the one sandbox connector, with these lines of its own."""
        common = f'url = "{self.url}"\nprotocol = "ppp"\nmode = "PARTIAL"\nretry_seconds = [0.05]\n'
        self.file.write_text("".join(
            f"[connectors.{name}]\n{common}{'' if 'timeout_seconds' in lines else 'timeout_seconds = 2'}\n{lines}\n"
            for name, lines in tables.items()
        ))  # fmt: skip

    def start(self) -> None:
        """Replaces the handler, as a restart does; the new one owns no partitions yet."""
        self.control = Control(self.settings)
        self.handler = DeliveryHandler(self.control)
        self._handlers.append(self.handler)
        self._own(self.epochs)

    async def take_partitions(self, *partitions: int, former_lease_until_ms: int | None = None) -> None:
        """Takes these partitions, or all, each with a new epoch."""
        epochs = {number: self.epochs.get(number, 0) + 1 for number in partitions or range(PARTITIONS)}
        taken = {number: TakenPartition(epoch, former_lease_until_ms) for number, epoch in epochs.items()}
        async with self.connection.transaction():
            await self.handler.taken(self.connection, taken)
        self._own({**self.epochs, **epochs})

    def _own(self, epochs: Mapping[int, int]) -> None:
        self.epochs = dict(epochs)
        self.control.epochs = self.epochs
        self.control.lease_ends = lease_time() + 3600

    def send(self, command_id: str, sequence: int = 1, payment: str | None = None, *, operation: str = "settle",
             connector: str = "acme", value: int = 100, **more: Any) -> Record:  # fmt: skip
        """Makes the record of a command pending, as the ledger publishes it."""
        payment_id = payment or f"p-{command_id}"
        order_id = f"o-{payment_id}"
        data = {
            "commandId": command_id, "requestId": f"r-{command_id}", "orderId": order_id, "paymentId": payment_id,
            "transactionId": "T", "authorizationId": "A", "connector": connector, "merchant": "shop", "currency": "USD",
            "value": value, "sequence": sequence, "cause": {"kind": "invoice", "id": "1"}, **more,
        }  # fmt: skip
        headers = binary_headers(f"command.{operation}", command_id, "2026-01-15T12:00:00Z")
        return self.read((names.COMMANDS, self.home(order_id)), order_id, orjson.dumps(data), headers)

    def replace(self, record: Record, **changed: Any) -> None:
        """Changes a pending record."""
        self.pending[self.pending.index(record)] = msgspec.structs.replace(record, **changed)

    async def run_until(self, *states: tuple[str, str]) -> None:
        """Runs cycles until each of these commands is in its state: `run_until(("a", "succeeded"))`."""
        wanted = dict(states)

        async def reached() -> bool:
            rows = await self.connection.fetch(
                "SELECT command_id, state FROM commands WHERE command_id = ANY($1)", list(wanted)
            )
            return {row["command_id"]: row["state"] for row in rows} == wanted

        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await reached():
                await self.run_once()

    async def run_once(self) -> None:
        """Waits until something is due, and runs a cycle."""
        due_ms = self.handler.next_due_ms() or 0
        if not (self.pending or self.control.cycle_wanted):
            seconds = max(0.0, due_ms / 1000 - time.time())
            try:
                async with asyncio.timeout(min(seconds, 1.0)):
                    await self.control.changed.wait()
            except TimeoutError:
                pass
        await self.cycle()

    async def cycle(self, *, before_commit: Callable[[], None] = lambda: None) -> list[Outgoing]:
        """Runs a cycle; a wake-up from here on requests another one."""
        self.control.changed.clear()
        self.control.cycle_wanted = False
        return await super().cycle(before_commit=before_commit)

    async def until_result(self) -> None:
        """Waits until an attempt that the last cycle began has its result, which the next cycle books."""
        await until(lambda: self.control.cycle_wanted, PATIENCE_SECONDS, "the result of an attempt")

    @property
    def lane(self) -> Lane:
        """The worker's lane of `acme`: no metric shows the size of its window."""
        return self.handler._lanes["acme"]

    def outcomes(self) -> list[tuple[str, str]]:
        """The outcomes that were published: kind and command id."""
        return [
            (header(record, "ce_type").removeprefix("command."), orjson.loads(record.value or b"")["commandId"])
            for record in self.outgoing
            if record.topic == names.OUTCOMES
        ]

    def requested(self) -> list[str]:
        """The ids of all requests that the connector received, in order."""
        return [request["requestId"].removeprefix("r-") for request in self.book.requests]

    def effects(self) -> list[str]:
        """The ids of all requests that had an effect, in order."""
        return [effect["requestId"].removeprefix("r-") for effect in self.book.effects]

    def plan(self, *words: str) -> None:
        """Plans the connector's faults for the next requests."""
        self.acme.plan(words)
