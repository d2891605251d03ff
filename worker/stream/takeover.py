"""What was claimed becomes ours: tables and topics are compared, memory is loaded, what was left over is published."""

import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from uuid import UUID

from worker import telemetry
from worker.kafka.records import Place, Position
from worker.kafka.source import LogTruncatedError, OffsetGoneError, Source
from worker.stream import outbox
from worker.stream.behind import verify
from worker.stream.control import Control
from worker.stream.cycle import Handler, TakenPartition
from worker.stream.offsets import begin_positions, note_published, stored_epochs, stored_ids, stored_positions
from worker.stream.publisher import Publisher
from worker.stream.transaction import Transactions

# Somebody who keeps writing to our topics must not keep us reading them.
LOOK_AT_OTHERS_SECONDS = 5.0


class Takeover:
    """One session's; nothing is read of a partition before it was taken here."""

    def __init__(
        self, control: Control, handler: Handler, source: Source, publisher: Publisher, transactions: Transactions,
        room: Callable[[], Awaitable[None]],
    ) -> None:  # fmt: skip
        self._control = control
        self._settings = control.settings
        self._handler = handler
        self._source = source
        self._publisher = publisher
        self._transactions = transactions
        self._room = room
        self._left_over: frozenset[int] = frozenset()
        self._others_at = 0.0

    async def take(self, taken: Mapping[int, TakenPartition]) -> dict[Place, int]:
        """From here on we write for these partitions, and read them from the offsets returned."""
        transactions = self._transactions
        self._control.own({**self._control.epochs, **{partition: one.epoch for partition, one in taken.items()}})
        known = await self._verify_age(taken)
        self._publisher.acknowledged_offsets.follow(known)
        ids = await self._source.inspector.topic_ids()
        stored = await self._stored_positions(taken, ids)
        async with transactions.fenced():
            await note_published(transactions.connection, known)
            await begin_positions(transactions.connection, stored, ids)
            await self._handler.taken(transactions.connection, taken)
        await self._publish_left_over(taken)
        return stored

    def left_over_is_published(self) -> bool:
        """Whether Kafka has everything that former owners had committed and had not seen acknowledged."""
        return not self._publisher.waits_for(self._left_over)

    async def look_at_others(self) -> None:
        """Whoever writes between our records may be a worker on another database, such as a primary that came back."""
        offsets, now = self._publisher.acknowledged_offsets, time.monotonic()
        if not offsets.interrupted or now < self._others_at + LOOK_AT_OTHERS_SECONDS:
            return
        self._others_at = now
        transactions = self._transactions
        known = await self._verify_age({partition for _, partition in offsets.resume()} & self._control.epochs.keys())
        async with transactions.fenced():
            await note_published(transactions.connection, known)

    async def _verify_age(self, partitions: Collection[int]) -> dict[Place, int]:
        """How far our output topics reach. Records there that the database does not know end the worker."""
        handler = self._handler
        bounds = await self._source.inspector.bounds([(topic, one) for topic in handler.outputs for one in partitions])
        return await verify(self._transactions.connection, handler, self._settings, bounds, partitions)

    async def _stored_positions(self, taken: Collection[int], ids: Mapping[str, UUID]) -> dict[Place, int]:
        """Where to go on. A position that the topic no longer has ends the worker, and so does one of an older topic.

        So does one before which not all stands any more that was read. Nothing was read before offset 0, so that it is
        the beginning of any topic.
        """
        topics = self._handler.topics
        stored = await stored_positions(self._transactions.connection, topics, taken)
        of = await stored_ids(self._transactions.connection, topics, taken)
        bounds = await self._source.inspector.bounds([(topic, partition) for topic in topics for partition in taken])
        gone: list[Exception] = []
        for place, (first, end) in bounds.items():
            at = stored.setdefault(place, first)
            made_anew = at > 0 and place in of and of[place] != ids.get(place[0], of[place])
            if made_anew or not first <= at <= end:
                topic = self._settings.topic(place[0])
                gone.append(OffsetGoneError(topic, place[1], at, first, end, made_anew=made_anew))
        if not gone:
            epochs = await stored_epochs(self._transactions.connection, topics, taken)
            read = {place: Position(stored[place], epoch) for place, epoch in epochs.items()}
            for place, stands_to in (await self._source.inspector.truncated(read)).items():
                topic = self._settings.topic(place[0])
                gone.append(LogTruncatedError(topic, place[1], stored[place], stands_to))
            self._source.set_verified_positions(read)
        for one in gone[1:]:
            telemetry.log.error(str(one))  # else a person who sets the first is told the next, start by start
        if gone:
            raise gone[0]
        return stored

    async def _publish_left_over(self, taken: Collection[int]) -> None:
        while rows := await outbox.left_over(self._transactions.connection, taken, self._publisher.known):
            await self._room()
            self._publisher.enqueue(rows)
            self._left_over |= {row.id for row in rows}
