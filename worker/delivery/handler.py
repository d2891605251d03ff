"""The delivery worker's part of a cycle: take over, book results, apply decisions, release what is due."""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from worker import telemetry
from worker.connector.answers import Answer, classify, refuse_used_id
from worker.connector.client import Broken, Client, Happened, Reply, tls_context
from worker.connector.file import ConnectorsFile, ConnectorsFileError, load
from worker.delivery import outcomes, schedule
from worker.delivery.job import Job, Line
from worker.delivery.lane import Lane
from worker.delivery.people import apply
from worker.delivery.store import Ended, Standing, Store
from worker.delivery.taking import compare, read_job
from worker.kafka import names
from worker.settings import SettingsError
from worker.stream.control import Control
from worker.stream.cycle import Cycle, Taken

DECISIONS_LOOK_MS = 300
SENDS_PER_CYCLE_MAX = 2_000
# An attempt that was written down, but not begun: the partition is on its way out, or the lease ran out.
NOT_BEGUN = Broken(begun=False, code="not_begun", message="the partition was on its way to another worker")
_REASONS = {"declined": "declined", "manual": "manual", "suspect": "suspect", "unknown": "unknown_outcome"}


class Result(Struct, frozen=True):
    """One attempt that ended."""

    job: Job
    attempt: int
    happened: Happened
    at_ms: int


class DeliveryHandler:
    """Delivers commands. Memory is the mirror of the table's open rows for owned partitions."""

    role = "delivery"
    topics = (names.COMMANDS,)

    def __init__(self, control: Control) -> None:
        path = control.settings.connectors_file
        if path is None:
            raise SettingsError(
                "CONNECTORS_FILE is missing: it takes the path of a TOML file that names the connectors"
            )
        self._control = control
        self._path: Path = path
        self._file: ConnectorsFile = _first_load(path)
        self._clients: dict[str, Client] = {}
        self._tls = tls_context()
        self._lines: dict[str, Line] = {}
        self._lanes: dict[str, Lane] = {}
        self._results: list[Result] = []
        self._booked = 0
        self._released: list[Job] = []
        self._flying: dict[str, tuple[int, asyncio.Task[None]]] = {}
        self._leaving: frozenset[int] = frozenset()
        self._look_at_ms = 0
        self._uncommitted = False

    # What the stream asks

    async def taken(self, connection: Any, taken: Mapping[int, Taken]) -> None:
        """Loads the open rows of partitions that are ours from here on."""
        self._leaving -= taken.keys()
        await self._load(connection, taken)
        self._share()

    async def release(self, partitions: frozenset[int]) -> None:
        """Begins nothing new for these, and waits until what is under way has an answer."""
        self._leaving = self._leaving | partitions
        while flying := [task for partition, task in self._flying.values() if partition in partitions]:
            await asyncio.wait(flying)

    def dropped(self) -> None:
        """Everything is found again in the tables; answers that still come are nobody's."""
        self._lines, self._lanes, self._results, self._released = {}, {}, [], []
        self._booked, self._uncommitted, self._leaving = 0, False, frozenset()
        self._flying = {}

    def reload(self) -> None:
        """SIGHUP: a file that does not parse keeps the old one; stopped connectors are tried again."""
        try:
            self._file = load(self._path)
        except ConnectorsFileError as problem:
            telemetry.alert("connectors_file", problem=str(problem))
        else:
            telemetry.clear_alert("connectors_file")
            for name, lane in self._lanes.items():
                lane.connector = self._file.connectors.get(name, lane.connector)
            for name in [name for name, client in self._clients.items()
                         if self._file.connectors.get(name) not in (client.connector, None)]:  # fmt: skip
                del self._clients[name]  # its connections end with what is under way
            self._share()
        for lane in self._lanes.values():
            lane.try_again()
        self._control.wake()

    async def close(self) -> None:
        """Lets go of every connection."""
        for client in self._clients.values():
            await client.close()

    def next_due_ms(self) -> int | None:
        due = [one for lane in self._lanes.values() if (one := lane.next_due_ms()) is not None]
        return min([self._look_at_ms, *due])

    async def handle(self, cycle: Cycle) -> None:
        """One cycle. If the one before it was not committed, memory is read anew first."""
        store = Store(cycle.connection)
        if self._uncommitted:
            await self._reload_memory(cycle)
        self._forget_what_left(cycle)
        self._uncommitted, self._released = True, []
        await self._take_over(cycle, store)
        self._booked = len(self._results)
        await self._book(cycle, store, self._results[: self._booked])
        if cycle.now_ms >= self._look_at_ms:
            await self._apply_decisions(cycle, store)
            self._look_at_ms = cycle.now_ms + DECISIONS_LOOK_MS
        await self._release_due(cycle, store)

    async def committed(self, cycle: Cycle) -> None:  # noqa: ARG002 - the stream tells which one it was
        """What was written down may be sent now."""
        self._uncommitted = False
        del self._results[: self._booked]
        self._booked = 0
        for job in self._released:
            if job.partition in self._leaving or not self._control.lease_valid(job.partition):
                self._note(job, NOT_BEGUN)
                continue
            self._flying[job.id] = job.partition, asyncio.create_task(self._send(job), name=f"send {job.id}")
        self._released = []

    # Taking over

    async def _take_over(self, cycle: Cycle, store: Store) -> None:
        found: dict[str, Job] = {}
        for record in cycle.records:
            job = read_job(cycle, record)
            if job is None:
                telemetry.count_fact(record.topic, "dead_lettered")
            elif (twin := found.get(job.id)) is not None:
                compare(cycle, record, twin.record.value or b"")
            else:
                found[job.id] = job
        known = await store.known(list(found)) if found else {}
        new = []
        for job in found.values():
            if job.id in known:
                compare(cycle, job.record, known[job.id])
            else:
                new.append(job)
        if not new:
            return
        contiguous = await store.contiguous({job.command.payment_id for job in new})
        await store.take_over(new, cycle.now_ms)
        for job in new:
            telemetry.count_fact(job.record.topic, "applied")
            self._enter(job, contiguous.get(job.command.payment_id, 0))

    def _enter(self, job: Job, contiguous: int) -> None:
        payment_id = job.command.payment_id
        line = self._lines.get(payment_id)
        if line is None:
            line = self._lines[payment_id] = Line(payment_id, contiguous)
        line.add(job)
        self._schedule(line)

    def _schedule(self, line: Line) -> None:
        """Puts a line's first job where its time will find it."""
        if not line.jobs:
            del self._lines[line.payment_id]
            return
        job = line.sendable()
        if job is not None:
            self._lane(job.command.connector).push(line, job.due_ms)

    def _lane(self, name: str) -> Lane:
        lane = self._lanes.get(name)
        if lane is None:
            connector = self._file.connectors.get(name)
            if connector is None:
                telemetry.alert("unknown_connector", name)
            lane = self._lanes[name] = Lane(name, connector, self._fraction())
        return lane

    # Sending

    async def _release_due(self, cycle: Cycle, store: Store) -> None:
        """Writes down every attempt that may begin now; it is sent once that is durable."""
        for lane in self._lanes.values():
            for job in lane.ready(cycle.now_ms):
                if job.partition in self._leaving or job.partition not in cycle.epochs:
                    lane.unused()  # whoever has the partition next sends it
                    continue
                if len(self._released) >= SENDS_PER_CYCLE_MAX:
                    lane.unused()
                    lane.push(self._lines[job.command.payment_id], job.due_ms)
                    break
                if schedule.is_past_horizon(job, lane.connector, cycle.now_ms):
                    lane.unused()
                    self._look_at_ms = cycle.now_ms
                    await self._give_up(cycle, store, job)
                    continue
                job.attempts += 1
                job.begun = job.attempts
                job.first_attempt_ms = job.first_attempt_ms or cycle.now_ms
                self._released.append(job)
        await store.begin(self._released, cycle.epochs, cycle.now_ms)

    async def _send(self, job: Job) -> None:
        """One attempt. It is never cancelled, and always leaves a result."""
        try:
            happened = await self._client(job.command.connector).send(job.operation, job.command, job.traceparent)
        except Exception as problem:
            self._control.fail(problem)
            raise
        if (mine := self._flying.get(job.id)) is not None and mine[1] is asyncio.current_task():
            del self._flying[job.id]
            self._note(job, happened)

    def _note(self, job: Job, happened: Happened) -> None:
        self._results.append(Result(job, job.attempts, happened, time.time_ns() // 1_000_000))
        self._control.wake()

    def _client(self, name: str) -> Client:
        client = self._clients.get(name)
        if client is None:
            connector = self._lane(name).connector
            assert connector is not None, "a lane without a connector lets nothing out"
            client = self._clients[name] = Client(connector, self._tls)
        return client

    # Booking

    async def _book(self, cycle: Cycle, store: Store, results: list[Result]) -> None:
        mine = [replace(one, job=job) for one in results if (job := self._current(one.job)) is not None]
        answers = [(one, self._classify(one)) for one in mine]
        claimed = [(one.job.command.payment_id, answer.operation_id) for one, answer in answers if answer.operation_id]
        used = await store.used_operations((payment, operation) for payment, operation in claimed if operation)
        standings = []
        for one, said in answers:
            owner = used.setdefault((one.job.command.payment_id, said.operation_id or ""), one.job.id)
            taken = said.operation_id is not None and owner != one.job.id
            answer = refuse_used_id(said, (str(said.operation_id),)) if taken else said
            lane = self._lane(one.job.command.connector)
            if one.happened is NOT_BEGUN:
                lane.unused()
            else:
                lane.ended(answer, one.at_ms)
            standings.append(self._settle(cycle, one, answer))
        await store.end([
            Ended(one.job.id, one.attempt, one.at_ms, answer.fate,
                  one.happened.status if isinstance(one.happened, Reply) else None, answer.message)
            for one, answer in answers
        ])  # fmt: skip
        await store.update(standings)

    def _classify(self, one: Result) -> Answer:
        connector = self._lane(one.job.command.connector).connector
        assert connector is not None
        return classify(
            one.happened, one.job.operation, one.job.command, connector,
            earlier_unknown=one.job.uncertain, now_ms=one.at_ms,
        )  # fmt: skip

    def _settle(self, cycle: Cycle, one: Result, answer: Answer) -> Standing:
        """The fate of a command after one of its attempts."""
        job, line = one.job, self._lines[one.job.command.payment_id]
        connector = self._lane(job.command.connector).connector
        assert connector is not None
        job.begun = None
        match answer.fate:
            case "succeeded" | "declined" | "manual" | "suspect":
                return self._end(cycle, job, answer.fate, answer, one.at_ms)
            case "unknown":
                job.uncertain = True
                job.due_ms = schedule.next_attempt_ms(job, connector, one.at_ms, answer.hold_seconds)
            case "not_sent" if one.happened is NOT_BEGUN:
                job.due_ms = one.at_ms
            case "not_sent":  # it counts against the connector, not against the command (R34)
                job.due_ms = schedule.next_attempt_ms(job, connector, one.at_ms, first=True)
            case "busy":  # the connector as a whole is held; the command's own time also outlives a change of owner
                job.due_ms = one.at_ms + round(1000 * (answer.hold_seconds or 0))
            case "stopped":
                job.due_ms = one.at_ms
        self._schedule(line)
        return Standing(job, code=answer.code, message=answer.message)

    def _end(self, cycle: Cycle, job: Job, state: str, answer: Answer, at_ms: int) -> Standing:
        """A final or interim outcome: told, dead-lettered where it is bad, and the line goes on where it may."""
        job.state, job.changes = state, job.changes + 1
        line = self._lines[job.command.payment_id]
        if state not in ("suspect", "unknown"):
            line.remove(job)
        self._schedule(line)
        cycle.publish(outcomes.of_job(
            job, state, at_ms, value=answer.value, operation_id=answer.operation_id, code=answer.code,
            message=answer.message,
        ))  # fmt: skip
        if state in _REASONS:
            cycle.dead_letter(
                job.record,
                _REASONS[state],
                answer.message,
                order_id=job.command.order_id,
                merchant=job.command.merchant,
            )
        return Standing(job, answer.value, answer.operation_id, answer.code, answer.message, at_ms)

    async def _give_up(self, cycle: Cycle, store: Store, job: Job) -> None:
        """At the horizon nothing is marked failed: the amount stays reserved, and a person resolves it (R33)."""
        answer = Answer("unknown", "horizon", f"no definite answer after {job.attempts} attempts")
        await store.update([self._end(cycle, job, "unknown", answer, cycle.now_ms)])

    # People

    async def _apply_decisions(self, cycle: Cycle, store: Store) -> None:
        decisions = await store.decisions(cycle.epochs)
        answered: dict[int, str | None] = {}
        for decision in decisions:
            payment_id, answered[decision.id] = await apply(cycle, store, decision, self._lines)
            if (line := self._lines.get(payment_id or "")) is not None:
                self._schedule(line)
        if answered:
            await store.applied(answered, cycle.now_ms)

    # Memory

    async def _load(self, connection: Any, taken: Mapping[int, Taken]) -> None:
        store = Store(connection)
        jobs = await store.lines(taken)
        under_way = self._under_way()
        contiguous = await store.contiguous({job.command.payment_id for job in jobs})
        lost = [job for job in jobs if job.begun is not None and job.id not in under_way]
        for job in lost:
            job.uncertain, job.begun = True, None
            job.due_ms = max(job.due_ms, self._safe_ms(job, taken[job.partition].former_lease_until_ms))
        await store.lose(lost)
        for job in jobs:
            self._enter(job, contiguous.get(job.command.payment_id, 0))

    def _safe_ms(self, job: Job, former_lease_until_ms: int | None) -> int:
        """Until then a former owner that nobody saw leave may still have a request under way."""
        connector = self._file.connectors.get(job.command.connector)
        if former_lease_until_ms is None or connector is None:
            return 0
        return former_lease_until_ms + round(connector.timeout_seconds * 1000)

    async def _reload_memory(self, cycle: Cycle) -> None:
        """The last transaction was refused after memory had moved: read the rows again, keep what is under way."""
        flying, results, leaving = self._flying, self._results, self._leaving
        self.dropped()
        self._flying, self._results, self._leaving = flying, results, leaving
        await self._load(cycle.connection, {partition: Taken(epoch, None) for partition, epoch in cycle.epochs.items()})
        for line in self._lines.values():
            for job in line.jobs:
                if job.begun is not None:
                    self._lane(job.command.connector).in_flight += 1

    def _forget_what_left(self, cycle: Cycle) -> None:
        """Lines of partitions that were handed over are somebody else's."""
        if self._leaving and not self._leaving & cycle.epochs.keys():
            gone = [line for line in self._lines.values() if line.jobs[0].partition not in cycle.epochs]
            for line in gone:
                del self._lines[line.payment_id]
            self._leaving = frozenset()

    def _under_way(self) -> set[str]:
        return {*self._flying, *(one.job.id for one in self._results)}

    def _current(self, job: Job) -> Job | None:
        """The job as memory has it now; None where its partition is no longer ours."""
        line = self._lines.get(job.command.payment_id)
        return next((one for one in line.jobs if one.id == job.id), None) if line else None

    def _fraction(self) -> float:
        return len(self._control.epochs) / self._control.settings.topic_partitions or 1.0

    def _share(self) -> None:
        for lane in self._lanes.values():
            lane.set_share(self._fraction())


def _first_load(path: Path) -> ConnectorsFile:
    try:
        return load(path)
    except ConnectorsFileError as problem:
        raise SettingsError(f"CONNECTORS_FILE: {problem}") from None
