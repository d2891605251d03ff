"""From joining to leaving: takes partitions, runs cycles, hands over. A failure ends it; the next one starts afresh."""

import asyncio
import contextlib
import time
from collections.abc import Mapping

from worker import metrics, telemetry
from worker.kafka.records import Place, Position
from worker.kafka.sink import Sink
from worker.kafka.source import Source
from worker.settings import Settings
from worker.stream import garbage
from worker.stream.clock import WallClock
from worker.stream.control import Control
from worker.stream.cycle import Handler
from worker.stream.cycle_runner import CycleRunner
from worker.stream.hand_over import HandOver
from worker.stream.misplaced_rows import MisplacedRows
from worker.stream.offset_reporter import OffsetReporter
from worker.stream.ownership import Ownership
from worker.stream.publisher import Publisher
from worker.stream.session_health import KAFKA_AWAY, SessionHealth
from worker.stream.takeover import Takeover
from worker.stream.transaction import Done, Transactions

CYCLE_BYTES_MAX = 8 << 20
# How long acknowledged rows wait for a cycle that deletes them in passing, before one is run for them alone.
TIDY_SECONDS = 0.1
LOOK_SECONDS = 1.0
FLUSH_SECONDS_MAX = 2.0
KAFKA_SILENT_SECONDS_MAX = 5.0
# Longer than brokers take to choose another one.
LEADERLESS_SECONDS_MAX = 5.0
LEADERLESS_NAMED_MAX = 3
TOPIC_WIDENED = "topic_widened"


class Session:
    """One membership, with all that hangs on it."""

    def __init__(
        self, settings: Settings, handler: Handler, control: Control, health: SessionHealth, sink: Sink,
        dead_letter_bytes: Mapping[str, int],
    ) -> None:  # fmt: skip
        self._settings = settings
        self._handler = handler
        self._control = control
        self._health = health
        self._ownership = Ownership(
            settings.database, handler.role, settings.topic_partitions, control, self._stop_waiting
        )
        self._source = Source(settings, handler.role, (*handler.topics, *handler.outputs), control.changed.set)
        self._publisher = Publisher(sink, control)
        self._misplaced = MisplacedRows(self._ownership, self._publisher)
        self._offset_reporter = OffsetReporter(self._source)
        self._transactions = Transactions(
            control, handler, self._ownership, self._publisher, self._misplaced, dead_letter_bytes
        )
        self._takeover = Takeover(control, handler, self._source, self._publisher, self._transactions, self._room)
        self._cycle_runner = CycleRunner(self._transactions, self._durable, self._room, health)
        self._positions: dict[Place, int] = {}
        self._hand_over: HandOver | None = None
        self._tidy_at: float | None = None
        self._skipped_at = 0.0
        self._works = False
        self._clock = WallClock()
        self.stopping = False

    async def open(self) -> None:
        """Ready to take partitions."""
        await self._transactions.open()
        await self._source.start()
        await self._ownership.join()

    async def run(self) -> None:
        """Until it was told to stop and everything was handed over.

        It works once what it claimed is taken, and what was left over there is with Kafka.
        """
        while True:
            self._control.changed.clear()
            self._raise_failures()
            self._look_at_clock()
            if self._ownership.claimed:
                await self._take()
            await self._takeover.look_at_others()
            if not self._works and self._takeover.left_over_is_published():
                self._works = True
                self._health.working(owns_partitions=bool(self._control.epochs))
            if await self._hand_over_finished():
                return
            if await self._work():
                self._look_at_kafka()
            else:
                await self._wait()
            garbage.collect_if_due()

    async def close(self) -> None:
        """The orderly end, after `run` returned."""
        await self._offset_reporter.discard()
        await self._ownership.leave()
        await self._let_go()

    async def drop(self) -> None:
        """The end after a failure: nothing is finished, everything is found again in the database."""
        self._control.pace.lost()
        self._control.own({})
        if self._hand_over is not None:
            await self._hand_over.cancel()
        await self._offset_reporter.discard()
        await self._ownership.abandon()
        await self._let_go()
        self._handler.dropped()

    def measure(self) -> None:
        """Sets the gauges that say how far behind we are."""
        metrics.consumer_lag.clear()
        for (topic, partition), end in self._source.end_offsets().items():
            behind = max(0, end - self._positions.get((topic, partition), end))
            metrics.consumer_lag.labels(topic=topic, partition=partition).set(behind)
        metrics.outbox_age_seconds.set(self._publisher.waiting_seconds())

    def kafka_problem(self) -> str | None:
        """What is overdue at the brokers: a leader, any answer at all, or the one to what we wrote."""
        if leaderless := self._source.leaderless_partitions(LEADERLESS_SECONDS_MAX):
            named, more = ", ".join(leaderless[:LEADERLESS_NAMED_MAX]), len(leaderless) - LEADERLESS_NAMED_MAX
            others = f" and {more} more" if more > 0 else ""
            return f"Kafka has no leader for {named}{others}: what is written there waits"
        if (silent := self._source.silent_seconds() or 0.0) > KAFKA_SILENT_SECONDS_MAX:
            return f"Kafka has not answered for {silent:.0f} s"
        if (waiting := self._publisher.waiting_seconds()) > KAFKA_SILENT_SECONDS_MAX:
            return f"Kafka has not taken what was written for {waiting:.0f} s"
        return None

    async def _let_go(self) -> None:
        self._control.own({})
        await self._publisher.discard()
        await self._source.stop()
        self._transactions.close()

    def _stop_waiting(self) -> None:
        """Nobody renews the lease: a statement under way fails now, and not at its time limit, long after the lease."""
        self._transactions.close()
        self._control.changed.set()

    def _raise_failures(self) -> None:
        for failure in (
            self._control.failure,
            self._ownership.failure,
            self._publisher.failure,
            self._offset_reporter.failure,
        ):
            if failure is not None:
                raise failure

    def _look_at_clock(self) -> None:
        if seconds := self._clock.set_back_seconds():
            telemetry.log.warning("the wall clock was set back", seconds=round(seconds))
            self._handler.clock_set_back(seconds)
            self._control.wake()

    async def _take(self) -> None:
        """What was claimed becomes ours, and is read from then on."""
        taken, self._ownership.claimed = self._ownership.claimed, {}
        self._works = False
        self._health.attempt_started()
        stored = await self._takeover.take(taken)
        self._positions |= stored
        await self._source.assign(self._positions)
        self._offset_reporter.note({place: offset for place, offset in stored.items() if offset > 0})
        self._control.wake()
        telemetry.log.info("partitions taken", partitions=sorted(taken), owned=len(self._control.epochs))

    async def _room(self) -> None:
        """Waits while too much is committed that Kafka does not have yet."""
        while not self._publisher.has_room():
            self._raise_failures()
            self._control.changed.clear()
            await self._wait()

    async def _hand_over_finished(self) -> bool:
        """One step of an orderly hand-over, if one is due; true when all is over."""
        if self._hand_over is None and (self.stopping or self._ownership.surplus):
            await self._begin_hand_over()
        if (hand_over := self._hand_over) is None or not hand_over.released():
            return False
        if not hand_over.booked:
            hand_over.booked = True
            await self._cycle_runner.run([])
        if self._publisher.holds(hand_over.partitions):
            return False
        await self._ownership.release(hand_over.partitions)
        self._hand_over = None
        self._control.own({partition: epoch for partition, epoch in self._control.epochs.items()
                           if partition not in hand_over.partitions})  # fmt: skip
        telemetry.log.info("partitions handed over", partitions=sorted(hand_over.partitions))
        return self.stopping and not self._control.epochs

    async def _begin_hand_over(self) -> None:
        everything = frozenset(self._control.epochs)
        if self.stopping:
            self._ownership.accepting = False
        partitions = everything if self.stopping else self._ownership.surplus
        self._positions = {place: at for place, at in self._positions.items() if place[1] not in partitions}
        await self._offset_reporter.flush(FLUSH_SECONDS_MAX)
        self._offset_reporter.forget(partitions)
        await self._source.assign(self._positions)
        self._hand_over = HandOver(partitions, self._handler, self._control)

    async def _work(self) -> bool:
        """One transaction, if there is a reason for one."""
        if not self._control.epochs or not self._publisher.has_room():
            return False
        now = time.monotonic()
        records = self._source.take(self._control.pace.records_max, CYCLE_BYTES_MAX)
        due_ms = self._handler.next_due_ms()
        if records or self._control.cycle_wanted or (due_ms is not None and due_ms <= time.time() * 1000):
            self._control.cycle_wanted = False
            await self._cycle_runner.run(records, self._skipped(now))
            self._control.pace.took(time.monotonic() - now)
            return True
        transactions = self._transactions
        skipped = self._skipped(now)
        due = self._tidy_due(now) or await self._misplaced.due(transactions.connection, list(self._control.epochs))
        if skipped or due:
            await self._cycle_runner.tidy(skipped)
            return True
        return False

    def _skipped(self, now: float) -> dict[Place, Position]:
        """Where positions may advance though no record came: over the end of a transaction, and what it took back.

        Else a topic that ends so would show a lag for ever, and retention would take it from under the position.
        """
        if now < self._skipped_at + LOOK_SECONDS:
            return {}
        self._skipped_at = now
        self._look_at_width()
        reached = self._source.read_positions()
        return {place: at for place, at in reached.items()
                if at.next_offset > self._positions.get(place, at.next_offset)}  # fmt: skip

    def _look_at_width(self) -> None:
        """Nobody owns partitions that were added later: what is written there would wait unnoticed."""
        if widened := self._source.widened_topics():
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

    async def _durable(self, done: Done) -> None:
        self._publisher.forget(done.deleted, done.reached)
        self._publisher.enqueue(done.rows)
        self._positions.update({place: at for place, at in done.positions.items() if place in self._positions})
        self._offset_reporter.note(done.positions)
        self._tidy_at = None
        await self._handler.committed(done.cycle)

    def _look_at_kafka(self) -> None:
        if problem := self.kafka_problem():
            telemetry.alert(KAFKA_AWAY, problem=problem)
        # A worker that stops asks nothing more, and hears nothing.
        elif self._health.problem is None and self._source.silent_seconds() is not None:
            telemetry.clear_alert(KAFKA_AWAY)

    async def _wait(self) -> None:
        self._look_at_kafka()
        now = time.monotonic()
        until = now + LOOK_SECONDS
        if self._tidy_at is not None:
            until = min(until, self._tidy_at)
        if self._control.epochs and self._publisher.has_room():
            if (look_at := self._misplaced.look_at) is not None:
                until = min(until, look_at)
            if (due_ms := self._handler.next_due_ms()) is not None:
                until = min(until, now + due_ms / 1000 - time.time())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(until - now, 0.001)):
                await self._control.changed.wait()
