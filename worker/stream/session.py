"""One membership: takes partitions, runs cycles, hands partitions over. An error ends it, and another one begins."""

import asyncio
import contextlib
import time
from collections.abc import Mapping

from aiokafka.errors import KafkaUnavailableError

from worker import metrics, telemetry
from worker.kafka.records import Place, Position
from worker.kafka.sink import Sink
from worker.kafka.source import Source
from worker.stream import garbage
from worker.stream.availability import Availability
from worker.stream.clock import WallClock
from worker.stream.control import Control
from worker.stream.cycle import Handler, TakenPartition
from worker.stream.cycle_runner import CycleRunner
from worker.stream.hand_over import HandOver
from worker.stream.misplaced_rows import MisplacedRows
from worker.stream.offset_reporter import OffsetReporter
from worker.stream.ownership import Ownership
from worker.stream.publisher import Publisher
from worker.stream.session_health import KAFKA_AWAY, SessionHealth
from worker.stream.takeover import Takeover
from worker.stream.transaction import Commit, Transactions

CYCLE_BYTES_MAX = 8 << 20
# How long acknowledged outbox rows wait for a cycle that deletes them in passing, before a cycle of their own does.
TIDY_SECONDS = 0.1
# How often the loop runs though nothing has happened.
IDLE_LOOP_SECONDS = 1.0
FLUSH_SECONDS_MAX = 2.0
KAFKA_SILENT_SECONDS_MAX = 5.0
TOPIC_WIDENED = "topic_widened"


class Session:
    """A member's connections and the loop that runs its cycles."""

    def __init__(
        self, handler: Handler, control: Control, health: SessionHealth, sink: Sink,
        dead_letter_bytes: Mapping[str, int],
    ) -> None:  # fmt: skip
        settings = self._settings = control.settings
        self._handler = handler
        self._control = control
        self._health = health
        self._ownership = Ownership(handler.role, control, self._beats_ended)
        self._source = Source(settings, handler.role, (*handler.topics, *handler.outputs), control.changed.set)
        self.availability = Availability(settings, self._source.inspector, self._ownership, control)
        self._publisher = Publisher(sink, control)
        self._misplaced = MisplacedRows(self._ownership, self._publisher)
        self._offset_reporter = OffsetReporter(self._source)
        self._transactions = Transactions(
            control, handler, self._ownership, self._publisher, self._misplaced, dead_letter_bytes
        )
        self._takeover = Takeover(
            control, handler, self._source, self._publisher, self._transactions, self._wait_for_room
        )
        self._cycle_runner = CycleRunner(self._transactions, self._committed, self._wait_for_room, health)
        self._positions: dict[Place, int] = {}
        self._hand_over: HandOver | None = None
        self._tidy_at: float | None = None
        self._skipped_at = 0.0
        self._working = False
        self._clock = WallClock()
        self.stopping = False

    async def open(self) -> None:
        """Connects to the database and to Kafka, and joins the members."""
        await self._transactions.open()
        await self._source.start()
        await self._ownership.join()

    async def run(self) -> None:
        """Runs cycles until `stopping` is set and every partition is handed over."""
        while True:
            self._control.changed.clear()
            self._raise_failures()
            self._check_clock()
            if self._ownership.claimed and not self.stopping:
                await self._take()
            await self._takeover.verify_foreign_writes()
            if not self._working and self._takeover.left_over_is_published():
                self._working = True
                self._health.working(owns_partitions=bool(self._control.epochs or self._ownership.claimed))
            if await self._all_handed_over():
                return
            if await self._run_due_cycle():
                self._check_kafka()
            else:
                await self._wait()
            garbage.collect_if_due()

    async def close(self) -> None:
        """Ends the membership in order, after `run` returned."""
        await self._offset_reporter.discard()
        await self._ownership.leave()
        await self._disconnect()

    async def drop(self) -> None:
        """Ends the membership after an error. Unfinished work is found in the database by the next session."""
        self._control.pace.lost()
        self._control.own({})
        if self._hand_over is not None:
            await self._hand_over.cancel()
        await self._offset_reporter.discard()
        await self._ownership.abandon()
        await self._disconnect()
        self._handler.dropped()

    def measure(self) -> None:
        """Sets the gauges of consumer lag and of the outbox's age."""
        metrics.consumer_lag.clear()
        for (topic, partition), end in self._source.end_offsets().items():
            behind = max(0, end - self._positions.get((topic, partition), end))
            metrics.consumer_lag.labels(topic=topic, partition=partition).set(behind)
        metrics.outbox_age_seconds.set(self._publisher.waiting_seconds())

    def kafka_problem(self) -> str | None:
        """Returns what is overdue at the brokers: a partition, any answer, or an acknowledgement."""
        if problem := self.availability.problem():
            return problem
        if (silent := self._source.silent_seconds() or 0.0) > KAFKA_SILENT_SECONDS_MAX:
            return f"Kafka has not answered for {silent:.0f} s"
        if (waiting := self._publisher.waiting_seconds()) > KAFKA_SILENT_SECONDS_MAX:
            return f"Kafka has acknowledged nothing for {waiting:.0f} s, though records wait"
        return None

    async def _disconnect(self) -> None:
        await self._publisher.discard()
        await self._source.stop()
        self._transactions.close()

    def _beats_ended(self) -> None:
        """Nothing renews the lease any more: makes a statement under way fail now, not at its timeout long after."""
        self._transactions.close()
        self._control.changed.set()

    def _raise_failures(self) -> None:
        for failure in (
            self._control.failure,
            self._ownership.failure,
            self._publisher.failure,
            self._offset_reporter.failure,
            self._source.inspector.failure,
        ):
            if failure is not None:
                raise failure

    def _check_clock(self) -> None:
        if seconds := self._clock.set_back_seconds():
            telemetry.log.warning("the wall clock was set back", seconds=round(seconds))
            self._handler.clock_set_back(seconds)
            self._control.wake()

    async def _take(self) -> None:
        """Takes over the claimed partitions that Kafka can serve, and begins to read them.

        One that was set aside is not taken before all its rows in memory are acknowledged, so that the ends of its
        topics do not move meanwhile.
        """
        waiting = self.availability.missing() | self._publisher.unacknowledged()
        taken = {partition: one for partition, one in self._ownership.claimed.items() if partition not in waiting}
        if not taken:
            return
        for partition in taken:
            del self._ownership.claimed[partition]
        self._working = False
        self._health.attempt_started()
        stored = await self._takeover.take(taken)
        self._positions |= stored
        await self._source.assign(self._positions)
        self._offset_reporter.note({place: offset for place, offset in stored.items() if offset > 0})
        self._control.wake()
        telemetry.log.info("partitions taken", partitions=sorted(taken), owned=len(self._control.epochs))

    async def _wait_for_room(self) -> None:
        """Waits until enough committed records are acknowledged by Kafka for more to be committed."""
        while not self._publisher.has_room():
            self._raise_failures()
            if lost := self.availability.lost():
                # The next session sets them aside.
                raise KafkaUnavailableError(f"no leader, or too few replicas in sync, for partitions {sorted(lost)}")
            self._control.changed.clear()
            await self._wait()

    async def _all_handed_over(self) -> bool:
        """Takes the next step of a hand-over, if one is due; returns whether we stop and own nothing any more."""
        if self._hand_over is None:
            await self._begin_due_hand_over()
        if (hand_over := self._hand_over) is None or not hand_over.released():
            return False
        if not hand_over.booked:
            hand_over.booked = True
            await self._cycle_runner.run([])
        unpublished = hand_over.partitions & self._publisher.held()
        kept = hand_over.partitions if hand_over.unavailable else unpublished & self.availability.lost()
        if unpublished - kept:
            return False
        self._hand_over = None
        await self._let_go(hand_over.partitions, kept)
        return self.stopping and not self._control.epochs

    async def _let_go(self, partitions: frozenset[int], kept: frozenset[int]) -> None:
        """Ends our work on these partitions; other members may claim them, except those that are kept."""
        epochs = self._control.epochs
        self._control.own({one: epoch for one, epoch in epochs.items() if one not in partitions})
        if kept:
            self._ownership.claimed |= {one: TakenPartition(epochs[one], None) for one in kept}
            telemetry.log.warning("partitions that Kafka cannot serve set aside", partitions=sorted(kept))
        if released := partitions - kept:
            await self._ownership.release(released)
            telemetry.log.info("partitions handed over", partitions=sorted(released))

    async def _begin_due_hand_over(self) -> None:
        """Begins to hand over everything if we stop, else what is above our share, else what Kafka cannot serve."""
        claimed, owned = self._ownership.claimed, frozenset(self._control.epochs)
        unavailable = False
        if self.stopping:
            self._ownership.accepting = False
            partitions = owned.union(claimed)
        elif self._ownership.surplus:
            partitions = self._ownership.surplus
        elif partitions := owned & self.availability.lost():
            unavailable = True
        else:
            return
        # Rows in memory may still be published: nobody else takes these partitions before this session ends.
        partitions -= self._publisher.unacknowledged() & claimed.keys()
        if not partitions and not self.stopping:
            self._ownership.surplus = frozenset()
            return
        for partition in partitions & claimed.keys():
            del claimed[partition]
        self._positions = {place: at for place, at in self._positions.items() if place[1] not in partitions}
        await self._offset_reporter.flush(FLUSH_SECONDS_MAX)
        self._offset_reporter.forget(partitions)
        await self._source.assign(self._positions)
        self._hand_over = HandOver(partitions, self._handler, self._control, unavailable=unavailable)

    async def _run_due_cycle(self) -> bool:
        """Runs one cycle if there is a reason for one; returns whether it did."""
        if not self._control.epochs or not self._publisher.has_room():
            return False
        now = time.monotonic()
        records = self._source.take(self._control.pace.records_max, CYCLE_BYTES_MAX)
        due_ms = self._handler.next_due_ms()
        if records or self._control.cycle_wanted or (due_ms is not None and due_ms <= time.time() * 1000):
            self._control.cycle_wanted = False
            await self._cycle_runner.run(records, self._skipped_positions(now))
            self._control.pace.took(time.monotonic() - now)
            return True
        transactions = self._transactions
        skipped = self._skipped_positions(now)
        due = self._tidy_due(now) or await self._misplaced.are_due(transactions.connection, list(self._control.epochs))
        if skipped or due:
            await self._cycle_runner.tidy(skipped)
            return True
        return False

    def _skipped_positions(self, now: float) -> dict[Place, Position]:
        """Positions that may skip offsets without a record: a transaction's end marker, and what was aborted.

        Else a topic that ends in such offsets would show a lag for ever, and retention would delete its position.
        """
        if now < self._skipped_at + IDLE_LOOP_SECONDS:
            return {}
        self._skipped_at = now
        self._check_widths()
        reached = self._source.read_positions()
        return {place: at for place, at in reached.items()
                if at.next_offset > self._positions.get(place, at.next_offset)}  # fmt: skip

    def _check_widths(self) -> None:
        """Alerts where a topic was given more partitions: nobody owns those, and what is written there is not read."""
        if widened := self._source.inspector.widened_topics():
            telemetry.alert(TOPIC_WIDENED, topics=widened, read=self._settings.topic_partitions)
        else:
            telemetry.clear_alert(TOPIC_WIDENED)

    def _tidy_due(self, now: float) -> bool:
        if not self._publisher.acknowledged()[0]:
            self._tidy_at = None
            return False
        if self._tidy_at is None:
            self._tidy_at = now + TIDY_SECONDS
        return now >= self._tidy_at or self._hand_over is not None

    async def _committed(self, done: Commit) -> None:
        """Publishes and remembers what a commit made durable."""
        self._publisher.forget(done.deleted, done.reached)
        self._publisher.enqueue(done.rows)
        self._positions.update({place: at for place, at in done.positions.items() if place in self._positions})
        self._offset_reporter.note(done.positions)
        self._tidy_at = None
        await self._handler.committed(done.cycle)

    def _check_kafka(self) -> None:
        if problem := self.kafka_problem():
            telemetry.alert(KAFKA_AWAY, problem=problem)
        # A worker that stops sends Kafka no requests, so that silence means nothing.
        elif self._health.problem is None and self._source.silent_seconds() is not None:
            telemetry.clear_alert(KAFKA_AWAY)

    async def _wait(self) -> None:
        self._check_kafka()
        now = time.monotonic()
        until = now + IDLE_LOOP_SECONDS
        if self._tidy_at is not None:
            until = min(until, self._tidy_at)
        if self._control.epochs and self._publisher.has_room():
            if (next_look_at := self._misplaced.next_look_at) is not None:
                until = min(until, next_look_at)
            if (due_ms := self._handler.next_due_ms()) is not None:
                until = min(until, now + due_ms / 1000 - time.time())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(until - now, 0.001)):
                await self._control.changed.wait()
