"""Publishes committed outbox rows in order, and keeps account of which Kafka has acknowledged.

Each partition has a queue of its own: one whose records Kafka does not take holds up no other.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import partial

from worker import metrics
from worker.cancelled import end, not_by_us
from worker.kafka.records import Place
from worker.kafka.sink import Ack, Sink
from worker.stream.acknowledged_offsets import AcknowledgedOffsets
from worker.stream.control import Control
from worker.stream.outbox import Row

# Above this no new cycle begins: rows that are committed and not acknowledged are kept in memory.
UNACKNOWLEDGED_BYTES_MAX = 8 << 20


class Publisher:
    """Publishes rows in the order of `enqueue` within each partition; several are in flight at once."""

    def __init__(self, sink: Sink, control: Control) -> None:
        self._sink = sink
        self._control = control
        self._queues: defaultdict[int, list[Row]] = defaultdict(list)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._known: dict[int, int] = {}
        self._acknowledged: list[int] = []
        self.acknowledged_offsets = AcknowledgedOffsets()
        self._unacknowledged: dict[int, tuple[int, float]] = {}
        self._bytes = Counter[int]()
        """Of the rows that are not acknowledged, by partition."""
        self._waiters: set[asyncio.Task[None]] = set()
        self.failure: BaseException | None = None

    def enqueue(self, rows: Sequence[Row]) -> None:
        """Queues committed rows, oldest first."""
        now = time.monotonic()
        for row in rows:
            self._known[row.id] = row.partition
            self._unacknowledged[row.id] = (row.size, now)
            self._bytes[row.partition] += row.size
            self._queues[row.partition].append(row)
        for partition in self._queues.keys() - self._tasks.keys():
            self._tasks[partition] = asyncio.create_task(self._run(partition), name=f"publisher of {partition}")

    @property
    def known(self) -> Iterable[int]:
        """Ids of the rows that were enqueued and are not yet deleted from the outbox."""
        return self._known.keys()

    def has_room(self) -> bool:
        """Whether more may be committed. Rows of partitions that were set aside do not count."""
        return sum(self._bytes[partition] for partition in self._control.epochs) < UNACKNOWLEDGED_BYTES_MAX

    def held(self) -> set[int]:
        """The partitions of the rows that are not yet acknowledged and deleted."""
        return set(self._known.values())

    def unacknowledged(self) -> set[int]:
        """The partitions of the rows that Kafka has yet to acknowledge."""
        return {partition for partition, size in self._bytes.items() if size}

    def waits_for(self, ids: frozenset[int]) -> bool:
        """Whether Kafka has yet to acknowledge any of these rows, apart from partitions that were set aside."""
        return any(self._known[row_id] in self._control.epochs for row_id in ids & self._unacknowledged.keys())

    def acknowledged(self) -> tuple[list[int], dict[Place, int]]:
        """Returns the ids of acknowledged rows, and the offsets reached; both stay until `forget`."""
        return list(self._acknowledged), dict(self.acknowledged_offsets.reached)

    def forget(self, ids: list[int], reached: dict[Place, int]) -> None:
        """These rows are deleted from the outbox, and these offsets stored."""
        del self._acknowledged[: len(ids)]
        for row_id in ids:
            self._known.pop(row_id, None)
        self.acknowledged_offsets.stored(reached)

    def waiting_seconds(self) -> float:
        """How long the oldest row has waited for its acknowledgement."""
        oldest = next(iter(self._unacknowledged.values()), None)
        return 0.0 if oldest is None else time.monotonic() - oldest[1]

    async def discard(self) -> None:
        """Stops publishing; the next owner of the partitions finds the rows in the outbox."""
        await end([*self._tasks.values(), *self._waiters])

    async def _run(self, partition: int) -> None:
        """Sends what one partition has queued. After a failure nothing more is published behind what failed."""
        try:
            while rows := self._queues.pop(partition, None):
                await self._send(rows)
            del self._tasks[partition]
        except Exception as problem:  # noqa: BLE001 - the session raises it
            self._fail(problem)

    async def _send(self, rows: list[Row]) -> None:
        """Gives the batches to Kafka's client; of the rows themselves only the ids are kept in memory."""
        with not_by_us():
            acks = await self._sink.queue([batch for row in rows for batch in row.batches])
        for place, number, ack in acks:
            ack.add_done_callback(partial(self._note, place, number))
        waiter = asyncio.create_task(self._await([row.id for row in rows], acks), name="acknowledgements")
        self._waiters.add(waiter)
        waiter.add_done_callback(self._waiters.discard)

    async def _await(self, ids: list[int], acks: list[tuple[Place, int, Ack]]) -> None:
        try:
            for _, _, ack in acks:
                with not_by_us():
                    await ack
        except Exception as problem:  # noqa: BLE001 - the session raises it
            self._fail(problem)
            return
        now = time.monotonic()
        for row_id in ids:
            size, since = self._unacknowledged.pop(row_id)
            self._bytes[self._known[row_id]] -= size
            self._acknowledged.append(row_id)
            metrics.publish_seconds.observe(now - since)
        metrics.outbox_rows.set(len(self._unacknowledged))
        self._control.changed.set()

    def _note(self, place: Place, number: int, ack: Ack) -> None:
        if not ack.cancelled() and ack.exception() is None:
            self.acknowledged_offsets.record(place, ack.result().offset, number)

    def _fail(self, problem: BaseException) -> None:
        self.failure = self.failure or problem
        self._control.changed.set()
