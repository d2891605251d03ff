"""The delivery worker, as the stream calls it: takes commands over, sends them, books results, applies decisions."""

import time
from collections.abc import Collection, Iterable, Mapping

from worker import metrics
from worker.connector.in_force import ConnectorsInForce
from worker.delivery import booking, schedule
from worker.delivery.cycle import DeliveryCycle
from worker.delivery.decisions import apply
from worker.delivery.job import IN_LINE, Job
from worker.delivery.known import first_unknown
from worker.delivery.lane import Lane
from worker.delivery.sending import Sending
from worker.delivery.store import Store, begin_attempts
from worker.delivery.taking import take_over
from worker.kafka import names
from worker.postgres.connecting import Connection
from worker.stream.control import Control
from worker.stream.cycle import Cycle, TakenPartition

DECISIONS_LOOK_MS = 300
# Per connector and cycle, so that no connector takes a whole cycle for itself.
ATTEMPTS_BEGUN_MAX = 500


class DeliveryHandler:
    """The schedule is in the table; memory holds the commands that are due next, and the attempts in flight."""

    role = "delivery"
    topics = names.READ["delivery"]
    outputs = (names.OUTCOMES,)
    unknown = staticmethod(first_unknown)

    def __init__(self, control: Control) -> None:
        self._control = control
        self._in_force = ConnectorsInForce(control.settings.connectors_file)
        self._sending = Sending(control)
        self._lanes: dict[str, Lane] = {}
        self._under_way: DeliveryCycle | None = None
        """The last cycle, until it is known to be durable."""
        self._leaving: frozenset[int] = frozenset()
        """Partitions that are being handed over: nothing new is begun for them."""
        self._look_at_ms = 0
        self._file_changed = False
        self._clock_was_ahead_ms: dict[int, int] = {}
        """Partitions whose due times were set before the clock was set back, and by how much it was ahead."""

    # What the stream calls

    async def taken(self, connection: Connection, taken: Mapping[int, TakenPartition]) -> None:
        """Counts the former owner's attempts without a result as unknown; what is due is read from the table."""
        store = Store(connection)
        self._leaving -= taken.keys()
        await self._correct_due_times(store, dict.fromkeys(taken, 0), time.time_ns() // 1_000_000)
        await self._mark_lost(store, taken)
        await self._reset_windows(store)

    async def release(self, partitions: frozenset[int]) -> None:
        """Begins nothing new for these partitions, and waits until everything in flight has an answer."""
        self._leaving = self._leaving | partitions
        self._forget_windows()
        await self._sending.wait_until_answered(partitions)

    def dropped(self) -> None:
        """Forgets everything: the tables have it. Answers that still arrive are ignored."""
        self._drop_cycle()
        self._sending.forget()
        self._leaving = frozenset()
        self._clock_was_ahead_ms = {}

    def reload(self) -> None:
        """SIGHUP: reads the connectors file again, and asks connectors again that refused every command.

        A signal may come in the middle of a cycle, which goes on with the old file; the next one begins with the new.
        """
        self._file_changed |= self._in_force.reload()
        for lane in self._lanes.values():
            if lane.condition.state == "refusing":
                lane.condition.ask_now()
        self._control.wake()

    def clock_set_back(self, seconds: float) -> None:
        """Looks for people's decisions at once, and lets no command and no connector wait that much longer."""
        self._look_at_ms = 0
        for partition in self._control.epochs:
            self._clock_was_ahead_ms[partition] = self._clock_was_ahead_ms.get(partition, 0) + round(1000 * seconds)
        for lane in self._lanes.values():
            lane.ask_now()

    async def measure(self, connection: Connection, partitions: Collection[int]) -> None:
        """Sets the gauges of commands without a definite answer: how many, and the age of the oldest."""
        unresolved = await Store(connection).unresolved(partitions)
        metrics.commands_unresolved.clear()
        metrics.commands_unresolved_age_seconds.clear()
        for connector, state, number, age_seconds in unresolved:
            metrics.commands_unresolved.labels(connector=connector, state=state).set(number)
            metrics.commands_unresolved_age_seconds.labels(connector=connector, state=state).set(age_seconds)

    async def close(self) -> None:
        await self._sending.close()

    def next_due_ms(self) -> int | None:
        due = [due_ms for lane in self._lanes.values() if (due_ms := lane.next_due_ms()) is not None]
        return min([self._look_at_ms, *due])

    async def handle(self, cycle: Cycle) -> None:
        """Runs one cycle. If the one before it was not committed, what it changed in memory is undone first."""
        under_way = DeliveryCycle(cycle)
        self._apply_changed_file()
        self._leaving = self._leaving.intersection(cycle.epochs)
        if self._under_way is not None:
            self._drop_cycle()
            await self._reset_windows(under_way.store)
        self._under_way = under_way
        await self._take_over(under_way)
        await self._book(under_way)
        await self._correct_after_clock_was_set_back(under_way)
        if cycle.now_ms >= self._look_at_ms:
            decided = await self._apply_decisions(under_way)
            await self._end_at_horizon(under_way)
            self._look_at_ms = cycle.now_ms + (0 if decided else DECISIONS_LOOK_MS)
        await self._begin_due(under_way)

    async def committed(self, cycle: Cycle) -> None:
        """Sends the attempts that are written down now. A cycle that we did not handle wrote nothing down for us."""
        if (durable := self._under_way) is None or durable.cycle is not cycle:
            return
        self._under_way = None
        self._clock_was_ahead_ms = {}
        for fate, number in durable.fates.items():
            metrics.facts_total.labels(topic=names.COMMANDS, fate=fate).inc(number)
        del self._sending.results[: durable.results_booked]
        for job in durable.attempts:
            begin = self._sending.skip if job.partition in self._leaving else self._sending.begin
            begin(job, cycle.epochs[job.partition], durable.slots[job.id])

    # The steps of a cycle

    def _apply_changed_file(self) -> None:
        if self._file_changed:
            self._file_changed = False
            connectors = self._in_force.file.connectors
            self._sending.replace_clients(connectors)
            for name, lane in self._lanes.items():
                lane.set_connector(connectors.get(name))

    async def _correct_after_clock_was_set_back(self, under_way: DeliveryCycle) -> None:
        """Comes after the results: those from before have their times from the wrong clock, too."""
        epochs = under_way.cycle.epochs
        if ahead_ms := {one: ms for one, ms in self._clock_was_ahead_ms.items() if one in epochs}:
            await self._correct_due_times(under_way.store, ahead_ms, under_way.cycle.now_ms)
            self._forget_windows()

    async def _take_over(self, under_way: DeliveryCycle) -> None:
        cycle = under_way.cycle
        jobs = await take_over(cycle, under_way.store, cycle.records)
        applied, dead = len(jobs), len(cycle.dead)
        under_way.fates = {"applied": applied, "dead_lettered": dead, "duplicate": len(cycle.records) - applied - dead}
        self._schedule(job for job in jobs if job.turn)

    async def _book(self, under_way: DeliveryCycle) -> None:
        under_way.results_booked = len(self._sending.results)
        results = self._sending.results[: under_way.results_booked]
        await self._reschedule(under_way, await booking.book(under_way.cycle, under_way.store, results))

    async def _apply_decisions(self, under_way: DeliveryCycle) -> bool:
        """Applies the first decisions that wait; returns whether there were any, since then there may be more."""
        cycle, store = under_way.cycle, under_way.store
        if decisions := await store.decisions(cycle.epochs):
            await self._reschedule(under_way, await apply(cycle, store, decisions))
        return bool(decisions)

    async def _end_at_horizon(self, under_way: DeliveryCycle) -> None:
        """Ends unknown commands that are due and were not sent: their horizon is reached all the same."""
        cycle, store = under_way.cycle, under_way.store
        partitions = self._staying(cycle)
        for lane in self._lanes.values():
            if lane.connector is not None and lane.is_behind(cycle.now_ms):
                before_ms = cycle.now_ms - schedule.horizon_ms(lane.connector)
                ids = await store.past_horizon(lane.name, partitions, before_ms, cycle.now_ms)
                await booking.end_at_horizon(cycle, store, await store.sendable(ids, partitions, cycle.now_ms))

    async def _begin_due(self, under_way: DeliveryCycle) -> None:
        """Writes down every attempt that may begin now; it is sent once that is durable."""
        cycle, store, slots = under_way.cycle, under_way.store, under_way.slots
        partitions = self._staying(cycle)
        for lane in self._lanes.values():
            lane.share = len(cycle.epochs) / cycle.partitions
            if limit := lane.window.lacking():
                after = lane.window.reach
                lane.window.refill(after, await store.next_due(lane.name, partitions, after, limit), limit)
            lane.update_alerts()
            slots |= dict.fromkeys(lane.take_ready(cycle.now_ms, ATTEMPTS_BEGUN_MAX), lane)
        too_late: list[Job] = []
        for job in await store.sendable(slots, partitions, cycle.now_ms):
            if schedule.is_past_horizon(job, slots[job.id].connector, cycle.now_ms):
                too_late.append(job)
                continue
            job.attempts += 1
            job.begun = job.attempts
            # The one in the row may come from a clock that was ahead: the horizon begins now at the latest.
            job.first_attempt_ms = min(job.first_attempt_ms or cycle.now_ms, cycle.now_ms)
            under_way.attempts.append(job)
        await booking.end_at_horizon(cycle, store, too_late)
        # The others ended meanwhile, are another owner's now, or have reached their horizon.
        under_way.give_back(slots.keys() - {job.id for job in under_way.attempts})
        begin_attempts(cycle.writes, under_way.attempts, cycle.epochs, cycle.now_ms)

    # Memory

    def _staying(self, cycle: Cycle) -> Collection[int]:
        """The partitions for which attempts may begin."""
        return cycle.epochs.keys() - self._leaving

    async def _reset_windows(self, store: Store) -> None:
        """What is due is read from the table from here on, for every connector that has commands there."""
        for name in await store.connectors():
            self._lane(name)
        self._forget_windows()

    def _forget_windows(self) -> None:
        for lane in self._lanes.values():
            lane.window.forget()

    def _drop_cycle(self) -> None:
        """Undoes in memory a cycle that was not committed."""
        if self._under_way is not None:
            self._under_way.give_back(self._under_way.slots)
            self._under_way = None

    async def _reschedule(self, under_way: DeliveryCycle, jobs: Iterable[Job]) -> None:
        """Commands that wait again take their place in the schedule; those that ended pass the turn to the next."""
        changed = list(jobs)
        self._schedule(job for job in changed if job.state == "waiting")
        ended = [job for job in changed if job.state not in IN_LINE]
        for connector, key in await under_way.store.pass_turns(ended, under_way.cycle.now_ms):
            self._lane(connector).window.enter(key)

    def _schedule(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            self._lane(job.command.connector).window.enter(job.key)

    def _lane(self, name: str) -> Lane:
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = Lane(name)
            lane.set_connector(self._in_force.file.connectors.get(name))
        return lane

    async def _correct_due_times(self, store: Store, ahead_ms: Mapping[int, int], now_ms: int) -> None:
        latest_ms = now_ms + schedule.longest_wait_ms(self._in_force.file.connectors.values())
        await store.correct_due_times(ahead_ms, now_ms, latest_ms)

    async def _mark_lost(self, store: Store, taken: Mapping[int, TakenPartition]) -> None:
        """A former owner's attempts count as unknown; without an orderly hand-over it may still be sending."""
        await store.mark_lost({
            command_id: self._safe_to_send_ms(connector, taken[partition].former_lease_until_ms)
            for command_id, partition, connector in await store.attempts_without_result(taken)
        })  # fmt: skip

    def _safe_to_send_ms(self, connector_name: str, former_lease_until_ms: int | None) -> int:
        """When the last send of a former owner is over, at the latest."""
        connector = self._in_force.file.connectors.get(connector_name)
        if former_lease_until_ms is None or connector is None:
            return 0
        return former_lease_until_ms + round(connector.timeout_seconds * 1000)
