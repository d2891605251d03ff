"""The delivery worker's part of a cycle: take over, book results, apply decisions, release what is due."""

import time
from collections.abc import Collection, Iterable, Mapping

from worker import metrics
from worker.connector.in_force import ConnectorsInForce
from worker.delivery import booking, schedule
from worker.delivery.decisions import apply
from worker.delivery.job import IN_LINE, Job
from worker.delivery.known import first_unknown
from worker.delivery.lane import Lane
from worker.delivery.sending import Sending
from worker.delivery.store import Store, write_down
from worker.delivery.taking import take_over
from worker.kafka import names
from worker.postgres.connecting import Connection
from worker.stream.control import Control
from worker.stream.cycle import Cycle, TakenPartition

DECISIONS_LOOK_MS = 300
# Of each connector, so that none takes a whole cycle for itself.
RELEASED_MAX = 500


class DeliveryHandler:
    """Delivers commands. The table is the schedule; memory holds what is due next and what is under way."""

    role = "delivery"
    topics = names.READ["delivery"]
    outputs = (names.OUTCOMES,)
    unknown = staticmethod(first_unknown)

    def __init__(self, control: Control) -> None:
        self._control = control
        self._in_force = ConnectorsInForce(control.settings.connectors_file)
        self._sending = Sending(control)
        self._lanes: dict[str, Lane] = {}
        self._let_out: dict[str, Lane] = {}  # counted as in flight by their lanes, and not begun yet
        self._released: list[Job] = []
        self._booked = 0
        self._fates: dict[str, int] = {}
        self._leaving: frozenset[int] = frozenset()
        self._look_at_ms = 0
        self._open: Cycle | None = None  # whose commit is not known yet
        self._tables_changed = False
        self._clock_was_ahead_ms: dict[int, int] = {}
        """Partitions in which the times that commands wait for come from before the clock was set back."""

    # What the stream asks

    async def taken(self, connection: Connection, taken: Mapping[int, TakenPartition]) -> None:
        """What the former owner had under way is doubtful from here on; what is due is found in the table."""
        self._leaving -= taken.keys()
        await self._correct_due_times(Store(connection), dict.fromkeys(taken, 0), time.time_ns() // 1_000_000)
        await self._lose(Store(connection), taken)
        await self._look_anew(Store(connection))

    async def release(self, partitions: frozenset[int]) -> None:
        """Begins nothing new for these, and waits until what is under way has an answer."""
        self._leaving = self._leaving | partitions
        self._forget_windows()
        await self._sending.landed(partitions)

    def dropped(self) -> None:
        """Everything is found again in the tables; answers that still arrive are ignored."""
        self._give_back()
        self._sending.forget()
        self._booked, self._open, self._leaving = 0, None, frozenset()
        self._clock_was_ahead_ms = {}

    def reload(self) -> None:
        """SIGHUP: a file that does not parse keeps the old one; connectors that refused everybody are asked again.

        It comes at any moment. What a cycle has let out goes by the tables that it saw: the next one begins by others.
        """
        self._tables_changed |= self._in_force.reload()
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
        """How many commands have no definite answer, and for how long."""
        found = await Store(connection).unresolved(partitions)
        metrics.commands_unresolved.clear()
        metrics.commands_unresolved_age_seconds.clear()
        for connector, state, number, age_seconds in found:
            metrics.commands_unresolved.labels(connector=connector, state=state).set(number)
            metrics.commands_unresolved_age_seconds.labels(connector=connector, state=state).set(age_seconds)

    async def close(self) -> None:
        """Lets go of every connection."""
        await self._sending.close()

    def next_due_ms(self) -> int | None:
        due = [one for lane in self._lanes.values() if (one := lane.next_due_ms()) is not None]
        return min([self._look_at_ms, *due])

    async def handle(self, cycle: Cycle) -> None:
        """One cycle. If the one before it was not committed, what memory learned from it is forgotten first."""
        store = Store(cycle.connection)
        self._go_by_changed_tables()
        has_left = bool(self._leaving) and self._leaving.isdisjoint(cycle.epochs)
        if has_left or self._open is not None:
            self._leaving = frozenset() if has_left else self._leaving
            self._give_back()
            await self._look_anew(store)
        self._open = cycle
        if late := {one: ms for one, ms in self._clock_was_ahead_ms.items() if one in cycle.epochs}:
            await self._correct_due_times(store, late, cycle.now_ms)
            self._forget_windows()
        await self._take_over(cycle, store)
        await self._book(cycle, store)
        if cycle.now_ms >= self._look_at_ms:
            await self._apply_decisions(cycle, store)
            await self._give_up_behind_closed_doors(cycle, store)
            self._look_at_ms = cycle.now_ms + DECISIONS_LOOK_MS
        await self._release_due(cycle, store)

    async def committed(self, cycle: Cycle) -> None:
        """What was written down may be sent now; a cycle that we did not handle wrote nothing down for us."""
        if cycle is not self._open:
            return
        self._open = None
        for fate, number in self._fates.items():
            metrics.facts_total.labels(topic=names.COMMANDS, fate=fate).inc(number)
        del self._sending.results[: self._booked]
        for job in self._released:
            begin = self._sending.do_not if job.partition in self._leaving else self._sending.begin
            begin(job, cycle.epochs[job.partition], self._let_out[job.id])
        self._let_out, self._released, self._booked = {}, [], 0
        self._clock_was_ahead_ms = {}

    # The steps of a cycle

    def _go_by_changed_tables(self) -> None:
        if self._tables_changed:
            self._tables_changed = False
            connectors = self._in_force.file.connectors
            self._sending.renew(connectors)
            for name, lane in self._lanes.items():
                lane.set_connector(connectors.get(name))

    async def _take_over(self, cycle: Cycle, store: Store) -> None:
        jobs = await take_over(cycle, store, cycle.records)
        applied, dead = len(jobs), len(cycle.dead)
        self._fates = {"applied": applied, "dead_lettered": dead, "duplicate": len(cycle.records) - applied - dead}
        self._enter(job for job, its_turn in jobs if its_turn)

    async def _book(self, cycle: Cycle, store: Store) -> None:
        self._booked = len(self._sending.results)
        jobs = await booking.book(cycle, store, self._sending.results[: self._booked])
        await self._move_on(cycle, store, jobs)

    async def _apply_decisions(self, cycle: Cycle, store: Store) -> None:
        answered: dict[int, str | None] = {}
        for decision in await store.decisions(cycle.epochs):
            job, answered[decision.id] = await apply(cycle, store, decision)
            if job is not None:
                await self._move_on(cycle, store, [job])
        if answered:
            await store.applied(answered, cycle.now_ms)

    async def _give_up_behind_closed_doors(self, cycle: Cycle, store: Store) -> None:
        """The horizon is reached, too, by commands of a connector that may not be asked now."""
        mine = cycle.epochs.keys() - self._leaving
        for lane in self._lanes.values():
            if lane.connector is not None and lane.condition.not_before_ms > cycle.now_ms:
                before_ms = cycle.now_ms - schedule.horizon_ms(lane.connector)
                late = await store.past_horizon(lane.name, mine, before_ms)
                for job in await store.sendable(late, mine, cycle.now_ms) if late else []:
                    await booking.give_up(cycle, store, job)

    async def _release_due(self, cycle: Cycle, store: Store) -> None:
        """Writes down every attempt that may begin now; it is sent once that is durable."""
        mine = cycle.epochs.keys() - self._leaving
        for lane in self._lanes.values():
            lane.share = len(cycle.epochs) / cycle.partitions
            if asked := lane.window.lacking():
                after = lane.window.reach
                lane.window.refill(after, await store.next_due(lane.name, mine, after, asked), asked)
            lane.tell_who_waits()
            self._let_out |= dict.fromkeys(lane.ready(cycle.now_ms, RELEASED_MAX), lane)
        jobs = await store.sendable(self._let_out, mine, cycle.now_ms) if self._let_out else []
        self._not_now(self._let_out.keys() - {job.id for job in jobs})
        for job in jobs:
            if schedule.is_past_horizon(job, self._let_out[job.id].connector, cycle.now_ms):
                await booking.give_up(cycle, store, job)
                self._not_now([job.id])
                continue
            job.attempts += 1
            job.begun = job.attempts
            job.first_attempt_ms = job.first_attempt_ms or cycle.now_ms
            self._released.append(job)
        write_down(cycle.writes, self._released, cycle.epochs, cycle.now_ms)

    # Memory

    async def _look_anew(self, store: Store) -> None:
        """What is due is read from the table from here on."""
        for name in await store.connectors():
            self._lane(name)
        self._forget_windows()

    def _forget_windows(self) -> None:
        for lane in self._lanes.values():
            lane.window.forget()

    def _not_now(self, ids: Iterable[str]) -> None:
        """These were let out and are not to be sent: they have moved on, or somebody else has them."""
        for command_id in ids:
            self._let_out.pop(command_id).unused(command_id)

    def _give_back(self) -> None:
        """Takes back what was let out by a transaction that was not committed."""
        self._not_now(list(self._let_out))
        self._released = []

    async def _move_on(self, cycle: Cycle, store: Store, jobs: Iterable[Job]) -> None:
        """Whatever waits again takes its place in the schedule; what has left its payment's line passes the turn on."""
        moved = list(jobs)
        self._enter(job for job in moved if job.state == "waiting")
        left = [job for job in moved if job.state not in IN_LINE]
        for connector, key in await store.pass_turns(left, cycle.now_ms):
            self._lane(connector).window.enter(key)

    def _enter(self, jobs: Iterable[Job]) -> None:
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

    async def _lose(self, store: Store, taken: Mapping[int, TakenPartition]) -> None:
        """Attempts of a former owner count as unknown; one that was lost without a hand-over may still be sending."""
        await store.lose({
            command_id: self._safe_ms(connector, taken[partition].former_lease_until_ms)
            for command_id, partition, connector in await store.under_way(taken)
        })  # fmt: skip

    def _safe_ms(self, connector_name: str, former_lease_until_ms: int | None) -> int:
        connector = self._in_force.file.connectors.get(connector_name)
        if former_lease_until_ms is None or connector is None:
            return 0
        return former_lease_until_ms + round(connector.timeout_seconds * 1000)
