"""Takes over claimed partitions: compares tables with topics, loads memory, publishes what the former owner left."""

import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from uuid import UUID

from worker import telemetry
from worker.kafka.records import Place, Position
from worker.kafka.source import LogTruncatedError, OffsetGoneError, Source
from worker.stream import outbox
from worker.stream.behind import verify_database_age
from worker.stream.control import Control
from worker.stream.cycle import Handler, TakenPartition
from worker.stream.offsets import StoredPosition, begin_positions, note_published, stored_positions
from worker.stream.publisher import Publisher
from worker.stream.transaction import Transactions

# Whoever keeps writing to our topics must not keep us reading them.
FOREIGN_WRITES_PAUSE_SECONDS = 5.0


class Takeover:
    """Takes over partitions for one session. No partition is read before that."""

    def __init__(
        self, control: Control, handler: Handler, source: Source, publisher: Publisher, transactions: Transactions,
        wait_for_room: Callable[[], Awaitable[None]],
    ) -> None:  # fmt: skip
        self._control = control
        self._settings = control.settings
        self._handler = handler
        self._source = source
        self._publisher = publisher
        self._transactions = transactions
        self._wait_for_room = wait_for_room
        self._left_over_ids: frozenset[int] = frozenset()
        self._foreign_writes_verified_at = 0.0

    async def take(self, taken: Mapping[int, TakenPartition]) -> dict[Place, int]:
        """Makes the partitions ours to write for; returns the offsets from which to read them."""
        transactions = self._transactions
        self._control.own({**self._control.epochs, **{partition: one.epoch for partition, one in taken.items()}})
        ends = await self._verify_age(taken)
        self._publisher.acknowledged_offsets.expect(ends)
        ids = await self._source.inspector.topic_ids()
        stored = await self._stored_positions(taken, ids)
        async with transactions.fenced():
            await note_published(transactions.connection, ends)
            await begin_positions(transactions.connection, stored, ids)
            await self._handler.taken(transactions.connection, taken)
        await self._publish_left_over(taken)
        return stored

    def left_over_is_published(self) -> bool:
        """Whether Kafka has acknowledged all rows that the former owners left in the outbox."""
        return not self._publisher.waits_for(self._left_over_ids)

    async def verify_foreign_writes(self) -> None:
        """Verifies the database's age again where somebody else wrote between our records.

        It may be a worker on another database, such as a former primary that came back.
        """
        offsets, now = self._publisher.acknowledged_offsets, time.monotonic()
        if not offsets.has_foreign_writes or now < self._foreign_writes_verified_at + FOREIGN_WRITES_PAUSE_SECONDS:
            return
        self._foreign_writes_verified_at = now
        transactions = self._transactions
        ends = await self._verify_age(
            {partition for _, partition in offsets.take_foreign_writes()} & self._control.epochs.keys()
        )
        async with transactions.fenced():
            await note_published(transactions.connection, ends)

    async def _verify_age(self, partitions: Collection[int]) -> dict[Place, int]:
        """Returns the ends of our output partitions; raises if the database does not know a record before them."""
        handler = self._handler
        bounds = await self._source.inspector.bounds(
            [(topic, partition) for topic in handler.outputs for partition in partitions]
        )
        return await verify_database_age(self._transactions.connection, handler, self._settings, bounds, partitions)

    async def _stored_positions(self, taken: Collection[int], ids: Mapping[str, UUID]) -> dict[Place, int]:
        """Returns the offsets at which reading goes on; raises if Kafka no longer has what was read up to a position.

        That is: the topic no longer has the offset, was made anew, or has given offsets before it to other records.
        Nothing was read before offset 0, which is thus valid in any topic.
        """
        topics = self._handler.topics
        stored = await stored_positions(self._transactions.connection, topics, taken)
        bounds = await self._source.inspector.bounds([(topic, partition) for topic in topics for partition in taken])
        positions: dict[Place, Position] = {}
        lost: list[Exception] = []
        for place, (first, end) in bounds.items():
            at, topic_id = stored.get(place) or StoredPosition(Position(first), None)
            made_anew = at.next_offset > 0 and topic_id is not None and topic_id != ids.get(place[0], topic_id)
            if made_anew or not first <= at.next_offset <= end:
                topic = self._settings.topic(place[0])
                lost.append(OffsetGoneError(topic, place[1], at.next_offset, first, end, made_anew=made_anew))
            positions[place] = at
        if not lost:
            for place, matching_end in (await self._source.inspector.truncated(positions)).items():
                topic = self._settings.topic(place[0])
                lost.append(LogTruncatedError(topic, place[1], positions[place].next_offset, matching_end))
            self._source.set_verified_positions(positions)
        for problem in lost[1:]:
            telemetry.log.error(str(problem))  # else each start of the worker would name only one more
        if lost:
            raise lost[0]
        return {place: at.next_offset for place, at in positions.items()}

    async def _publish_left_over(self, taken: Collection[int]) -> None:
        while rows := await outbox.left_over(self._transactions.connection, taken, self._publisher.known):
            await self._wait_for_room()
            self._publisher.enqueue(rows)
            self._left_over_ids |= {row.id for row in rows}
