"""Publishes committed outbox rows in order, and keeps account of which Kafka has acknowledged."""

import asyncio
import time
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
        self._queue: list[Row] = []
        self._queued = asyncio.Event()
        self._known: dict[int, int] = {}
        self._acknowledged: list[int] = []
        self.acknowledged_offsets = AcknowledgedOffsets()
        self._unacknowledged: dict[int, tuple[int, float]] = {}
        self._bytes = 0
        self._waiters: set[asyncio.Task[None]] = set()
        self._task = asyncio.create_task(self._run(), name="publisher")
        self._task.add_done_callback(lambda _: control.changed.set())
        self.failure: BaseException | None = None

    def enqueue(self, rows: Sequence[Row]) -> None:
        """Queues committed rows, oldest first."""
        now = time.monotonic()
        for row in rows:
            self._known[row.id] = row.partition
            self._unacknowledged[row.id] = (row.size, now)
            self._bytes += row.size
            self._queue.append(row)
        if rows:
            self._queued.set()

    @property
    def known(self) -> Iterable[int]:
        """Ids of the rows that were enqueued and are not yet deleted from the outbox."""
        return self._known.keys()

    def has_room(self) -> bool:
        """Whether more may be committed."""
        return self._bytes < UNACKNOWLEDGED_BYTES_MAX

    def holds(self, partitions: frozenset[int]) -> bool:
        """Whether any row of these partitions is not yet acknowledged and deleted."""
        return not partitions.isdisjoint(self._known.values())

    def waits_for(self, ids: frozenset[int]) -> bool:
        """Whether Kafka has yet to acknowledge any of these rows."""
        return not ids.isdisjoint(self._unacknowledged)

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
        await end([self._task, *self._waiters])

    async def _run(self) -> None:
        try:
            while True:
                await self._queued.wait()
                self._queued.clear()
                rows, self._queue = self._queue, []
                await self._hand_over(rows)
        except Exception as problem:  # noqa: BLE001 - the session raises it
            self._fail(problem)

    async def _hand_over(self, rows: list[Row]) -> None:
        """Gives the batches to Kafka's client; of the rows themselves only the ids are kept in memory."""
        with not_by_us():
            acks = await self._sink.hand_over([batch for row in rows for batch in row.batches])
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
            self._bytes -= size
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
