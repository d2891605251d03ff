"""A ledger that reads real topics, and the command line against the same database."""

import asyncio
import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import asyncpg
import orjson

from tests.integration.ledger.harness import LedgerHarness
from worker.cli import main
from worker.kafka import names, topics
from worker.kafka.envelope import binary_headers
from worker.kafka.records import Headers, Outgoing
from worker.kafka.sink import Sink
from worker.kafka.source import Source

INPUTS = (names.INVOICES, names.ORDER_CHANGES)
CYCLE_RECORDS = 1_000


class LedgerOnKafka(LedgerHarness):
    """`publish` writes to Kafka, `consume` lets the ledger read what is there, `settlement` runs a command."""

    def __init__(self, connection: asyncpg.Connection, url: str, folder: Path, bootstrap: str, prefix: str) -> None:
        # The partitions are those of LedgerHarness.
        super().__init__(connection, url, folder, KAFKA_BOOTSTRAP_SERVERS=bootstrap, TOPIC_PREFIX=prefix)
        self.environment = {
            "KAFKA_BOOTSTRAP_SERVERS": bootstrap, "DATABASE_URL": url, "TOPIC_PREFIX": prefix,
            "TOPIC_PARTITIONS": str(len(self.epochs)), "CONNECTORS_FILE": str(self.file), "NO_COLOR": "1",
        }  # fmt: skip
        self._sink = Sink(self.settings)
        self._arrived = asyncio.Event()
        self._source = Source(self.settings, "test", INPUTS, self._arrived.set)
        self._read: dict[tuple[str, int], int] = {}

    async def open(self) -> None:
        await topics.create_missing(self.settings)
        await self._sink.start()
        await self._source.start()
        await self._source.assign({(topic, partition): 0 for topic in INPUTS for partition in self.epochs})

    async def close(self) -> None:
        await self._source.stop()
        await self._sink.stop()

    async def publish(
        self, kind: str, facts: Sequence[dict[str, Any]], raw: bytes | None = None, headers: Headers = ()
    ) -> None:
        topic = names.INVOICES if kind.startswith("invoice.") else names.ORDER_CHANGES
        records = [
            Outgoing(topic, self.home(fact["orderId"]), fact["orderId"].encode(), raw or orjson.dumps(fact),
                     [*binary_headers(kind, f"{kind}-{place}", "2026-01-15T12:00:00Z"), *headers])
            for place, fact in enumerate(facts)
        ]  # fmt: skip
        await self._sink.publish(records)

    async def consume(self) -> None:
        """Runs cycles until the ledger has decided everything that is in Kafka now."""
        places = [(topic, partition) for topic in INPUTS for partition in self.epochs]
        ends = {place: end for place, (_, end) in (await self._source.inspector.bounds(places)).items()}
        while any(end > self._read.get(place, 0) for place, end in ends.items()):
            self.pending = self._source.take(CYCLE_RECORDS, 1 << 30)
            if not self.pending:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            self._read |= {(record.topic, record.partition): record.offset + 1 for record in self.pending}
            await self.cycle()

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Starts a command in a process of its own, which a test can kill."""
        return subprocess.Popen(
            [sys.executable, "-m", "worker", *arguments], env=os.environ | self.environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    async def settlement(self, *arguments: str, code: int = 0, **environment: str) -> str:
        """Runs a command on a thread of this process, checks its exit code and returns its output."""
        return await asyncio.to_thread(self._settlement, arguments, code, environment)

    def _settlement(self, arguments: Sequence[str], code: int, environment: dict[str, str]) -> str:
        output, exit_code = io.StringIO(), 0
        with (
            patch.dict(os.environ, self.environment | environment),
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(output),
        ):
            try:
                main(list(arguments))
            except SystemExit as exit_:
                exit_code = int(exit_.code or 0)
        assert exit_code == code, (arguments, exit_code, output.getvalue())
        return output.getvalue()
