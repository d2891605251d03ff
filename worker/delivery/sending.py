"""Attempts under way, and the results that wait to be booked."""

import asyncio
import time

from msgspec import Struct

from worker import metrics
from worker.connector.answers import Answer, classify
from worker.connector.client import Client, Reply
from worker.connector.command import action
from worker.connector.file import Connector
from worker.delivery.clients import Clients
from worker.delivery.job import Job
from worker.delivery.lane import Lane
from worker.stream.control import Control
from worker.text import storable
from worker.tracing import tracing

REPLY_CHARACTERS_KEPT = 2_000
# An attempt that was written down, but not begun: whoever may send is to do so at once.
NOT_BEGUN = Answer(
    "not_sent", "not_begun", "the partition was on its way to another worker, or the lease ran out", hold_seconds=0.0
)


class Result(Struct, frozen=True):
    """One attempt that is over. It counts only for the owner, and the epoch, that began it."""

    job: Job
    epoch: int
    connector: Connector
    answer: Answer
    at_ms: int
    status: int | None = None
    reply: str | None = None
    """The beginning of the answer's body."""


class Sending:
    """Sends each attempt in a task of its own, which nobody cancels."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._clients = Clients()
        self._flying: dict[str, tuple[int, asyncio.Task[None]]] = {}
        self.results: list[Result] = []

    def begin(self, job: Job, epoch: int, lane: Lane) -> None:
        """One attempt, or none where the lease does not allow it; it always leaves a result."""
        assert lane.connector is not None, "a lane without a connector lets nothing out"
        if self._control.may_send_for(job.partition):
            client = self._clients.of(lane.connector)
            task = asyncio.create_task(self._send(job, epoch, lane, client), name=f"send {job.id}")
            self._clients.busy(client, task)
            self._flying[job.id] = job.partition, task
        else:
            self.do_not(job, epoch, lane)

    def do_not(self, job: Job, epoch: int, lane: Lane) -> None:
        """The attempt does not begin."""
        assert lane.connector is not None
        lane.unused(job.id)
        self._note(Result(job, epoch, lane.connector, NOT_BEGUN, _now_ms()))

    async def landed(self, partitions: frozenset[int]) -> None:
        """Everything of these partitions has its answer."""
        while flying := [task for partition, task in self._flying.values() if partition in partitions]:
            await asyncio.wait(flying)

    def forget(self) -> None:
        """Answers that still arrive are ignored; the next owner of the partition counts the attempts as unknown."""
        self._flying, self.results = {}, []

    def renew(self, connectors: dict[str, Connector]) -> None:
        """Attempts that begin from here on follow these tables; those under way follow the old ones."""
        self._clients.renew(connectors)

    async def close(self) -> None:
        """Lets go of every connection."""
        await self._clients.close()

    async def _send(self, job: Job, epoch: int, lane: Lane, client: Client) -> None:
        connector = client.connector
        # A process may be frozen between the task's making and its first step: it asks anew.
        if not self._control.may_send_for(job.partition):
            lane.unused(job.id)
            if self._is_awaited(job):
                self._note(Result(job, epoch, connector, NOT_BEGUN, _now_ms()))
            return
        began_ns = time.time_ns()
        try:
            happened = await client.send(job.operation, job.command, job.traceparent)
            at_ms = _now_ms()
            answer = classify(happened, job.operation, job.command, connector,
                              earlier_unknown=job.uncertain, now_ms=at_ms)  # fmt: skip
        except Exception as problem:
            self._control.fail(problem)
            raise
        _measure(job, answer, lane, began_ns)
        lane.ended(job.id, answer, connector, at_ms, replied=isinstance(happened, Reply))
        if self._is_awaited(job):
            status, reply = (happened.status, _shown(happened)) if isinstance(happened, Reply) else (None, None)
            self._note(Result(job, epoch, connector, answer, at_ms, status, reply))

    def _is_awaited(self, job: Job) -> bool:
        """Whether anybody still waits for the result of this task, which ends here."""
        mine = self._flying.get(job.id)
        if mine is None or mine[1] is not asyncio.current_task():
            return False
        del self._flying[job.id]
        return True

    def _note(self, result: Result) -> None:
        self.results.append(result)
        self._control.wake()


def _measure(job: Job, answer: Answer, lane: Lane, began_ns: int) -> None:
    ended_ns = time.time_ns()
    metrics.attempts_total.labels(connector=lane.name, fate=answer.fate).inc()
    metrics.attempt_seconds.labels(connector=lane.name).observe((ended_ns - began_ns) / 1e9)
    if job.operation == "settle" and answer.fate == "succeeded":
        waited_seconds = ended_ns / 1e9 - job.record.timestamp_ms / 1e3
        metrics.invoice_to_capture_seconds.labels(connector=lane.name).observe(waited_seconds)
    tracing.span(
        f"POST {action(job.operation)}", job.traceparent, began_ns, ended_ns,
        {"connector": lane.name, "command": job.id, "attempt": job.attempts, "fate": answer.fate},
    )  # fmt: skip


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _shown(reply: Reply) -> str | None:
    """The beginning as text that PostgreSQL takes, however it was encoded; cut after what is withheld."""
    text = reply.withhold(reply.body.decode("utf-8", "backslashreplace"))
    return storable(text[:REPLY_CHARACTERS_KEPT]) or None
