"""Runs one worker's handler in real transactions, without Kafka and without partition ownership.

The steps are those of `Transactions.handle` in worker/stream/transaction.py, without the fence.
"""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import asyncpg

from worker.kafka import names
from worker.kafka.murmur2 import partition_of
from worker.kafka.packing import unpack
from worker.kafka.records import Headers, Outgoing, Place, Record
from worker.settings import Settings
from worker.stream import outbox
from worker.stream.cycle import Cycle, Handler
from worker.stream.dead_letters import write_dead_letters
from worker.stream.offsets import advance_positions

PARTITIONS = 4
DEAD_LETTER_BYTES = dict.fromkeys(names.INPUTS, 1_100_000)


def header(record: Outgoing, name: str) -> str:
    content = dict(record.headers)[name]
    assert content is not None
    return content.decode()


class RolledBackError(Exception):
    """The test asked for this rollback."""


class CycleHarness(ABC):
    """Records that are `pending` go into the next `cycle`; what it publishes is added to `outgoing`."""

    def __init__(self, connection: asyncpg.Connection, settings: Settings) -> None:
        self.connection = connection
        self.settings = settings
        self.epochs = dict.fromkeys(range(PARTITIONS), 1)
        self.pending: list[Record] = []
        self.outgoing: list[Outgoing] = []
        self.handler: Handler
        self._next_offsets: defaultdict[Place, int] = defaultdict(int)

    @property
    @abstractmethod
    def now_ms(self) -> int:
        """The wall clock of the next cycle."""

    def home(self, order_id: str) -> int:
        return partition_of(order_id, PARTITIONS)

    def read(
        self, place: Place, key: str, value: bytes, headers: Headers = (), timestamp_ms: int = 0
    ) -> Record:  # fmt: skip
        """Makes a record with the partition's next offset pending."""
        record = Record(*place, self._next_offsets[place], key.encode(), value, headers, timestamp_ms)
        self._next_offsets[place] += 1
        self.pending.append(record)
        return record

    def recreate_topics(self) -> None:
        """The next record of each partition has offset 0 again."""
        self._next_offsets.clear()

    async def cycle(self, *, before_commit: Callable[[], None] = lambda: None) -> list[Outgoing]:
        """Commits all pending records in one transaction and returns what it publishes; after an error, they stay."""
        records, self.pending = self.pending, []
        cycle = Cycle(self.connection, records, self.epochs, self.now_ms, PARTITIONS)
        await self.connection.execute("BEGIN")
        try:
            await self.handler.handle(cycle)
            await write_dead_letters(cycle, self.settings.topic_prefix, DEAD_LETTER_BYTES)
            rows = await outbox.write(cycle)
            await advance_positions(self.connection, {record.place: record.offset + 1 for record in records})
            before_commit()
        except BaseException:
            await self.connection.execute("ROLLBACK")
            self.pending = records + self.pending
            raise
        await self.connection.execute("COMMIT")
        await self.handler.committed(cycle)
        owned = [record for row in rows for record in unpack(row.batches)]
        others = [record for record in unpack(cycle.outgoing) if record.partition not in self.epochs]
        self.outgoing += owned + others
        return owned + others

    async def roll_back(self) -> None:
        """Runs a cycle that is rolled back instead of committed."""

        def refuse() -> None:
            raise RolledBackError

        try:
            await self.cycle(before_commit=refuse)
        except RolledBackError:
            return
        raise AssertionError("the cycle was committed")

    async def rows(self, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self.connection.fetch(query, *arguments)]

    async def value(self, query: str, *arguments: Any) -> Any:
        return await self.connection.fetchval(query, *arguments)
