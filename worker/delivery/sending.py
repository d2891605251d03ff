"""Sends attempts, and keeps their results until they are booked."""

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
# An attempt that was written down but not sent: whoever owns the partition may send it at once.
NOT_BEGUN = Answer(
    "not_sent", "not_begun", "the partition was on its way to another worker, or the lease ran out", hold_seconds=0.0
)


class Result(Struct, frozen=True):
    """The end of one attempt. It counts only for the owner that began it, in the same epoch."""

    job: Job
    epoch: int
    connector: Connector
    answer: Answer
    at_ms: int
    status: int | None = None
    reply: str | None = None
    """The beginning of the reply's body."""


class Sending:
    """Sends each attempt in a task of its own, which is never cancelled."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._clients = Clients()
        self._in_flight: dict[str, tuple[int, asyncio.Task[None]]] = {}
        self.results: list[Result] = []

    def begin(self, job: Job, epoch: int, lane: Lane) -> None:
        """Sends one attempt, if the lease allows it; it leaves a result either way."""
        assert lane.connector is not None, "a lane without a connector sends nothing"
        client = self._clients.of(lane.connector)
        task = asyncio.create_task(self._send(job, epoch, lane, client), name=f"send {job.id}")
        self._clients.add_send(client, task)
        self._in_flight[job.id] = job.partition, task

    def skip(self, job: Job, epoch: int, lane: Lane) -> None:
        """Ends the attempt without sending it."""
        assert lane.connector is not None
        lane.give_back(job.id)
        self._add_result(Result(job, epoch, lane.connector, NOT_BEGUN, _now_ms()))

    async def wait_until_answered(self, partitions: frozenset[int]) -> None:
        """Returns once nothing of these partitions is in flight."""
        while tasks := [task for partition, task in self._in_flight.values() if partition in partitions]:
            await asyncio.wait(tasks)

    def forget(self) -> None:
        """Ignores answers that still arrive; the next owner of the partition counts their attempts as unknown."""
        self._in_flight, self.results = {}, []

    def replace_clients(self, connectors: dict[str, Connector]) -> None:
        """Sends from here on as this file says; attempts in flight end as the former file said."""
        self._clients.replace(connectors)

    async def close(self) -> None:
        """Closes every connection."""
        await self._clients.close()

    async def _send(self, job: Job, epoch: int, lane: Lane, client: Client) -> None:
        connector = client.connector
        # Asked in the task itself: a process may be frozen between creating the task and its first step.
        if not self._control.may_send_for(job.partition):
            lane.give_back(job.id)
            if self._is_awaited(job):
                self._add_result(Result(job, epoch, connector, NOT_BEGUN, _now_ms()))
            return
        began_ns = time.time_ns()
        try:
            result = await client.send(job.operation, job.command, job.traceparent)
            at_ms = _now_ms()
            answer = classify(result, job.operation, job.command, connector,
                              earlier_unknown=job.uncertain, now_ms=at_ms)  # fmt: skip
        except Exception as problem:
            self._control.fail(problem)
            raise
        _measure(job, answer, lane, began_ns)
        took_ms = max(0.0, at_ms - began_ns / 1e6)
        lane.ended(job.id, answer, connector, at_ms, took_ms, replied=isinstance(result, Reply))
        if self._is_awaited(job):
            status, reply = (result.status, _beginning(result)) if isinstance(result, Reply) else (None, None)
            self._add_result(Result(job, epoch, connector, answer, at_ms, status, reply))

    def _is_awaited(self, job: Job) -> bool:
        """Whether this task's result still counts; removes the task, which ends here."""
        mine = self._in_flight.get(job.id)
        if mine is None or mine[1] is not asyncio.current_task():
            return False
        del self._in_flight[job.id]
        return True

    def _add_result(self, result: Result) -> None:
        self.results.append(result)
        self._control.wake()


def _measure(job: Job, answer: Answer, lane: Lane, began_ns: int) -> None:
    ended_ns = time.time_ns()  # of a clock that may be set back, or be behind that of whoever wrote the record
    metrics.attempts_total.labels(connector=lane.name, fate=answer.fate).inc()
    if answer.fate == "succeeded" and answer.value < job.command.value:
        metrics.short_total.labels(connector=lane.name).inc()
    metrics.attempt_seconds.labels(connector=lane.name).observe(max(0.0, (ended_ns - began_ns) / 1e9))
    if job.operation == "settle" and answer.fate == "succeeded":
        waited_seconds = ended_ns / 1e9 - job.record.timestamp_ms / 1e3
        metrics.invoice_to_capture_seconds.labels(connector=lane.name).observe(max(0.0, waited_seconds))
    tracing.span(
        f"POST {action(job.operation)}", job.traceparent, began_ns, ended_ns,
        {"connector": lane.name, "command": job.id, "attempt": job.attempts, "fate": answer.fate},
    )  # fmt: skip


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _beginning(reply: Reply) -> str | None:
    """The beginning of the body as text that PostgreSQL can store; cut only after credentials are withheld."""
    text = reply.withhold(reply.body.decode("utf-8", "backslashreplace"))
    return storable(text[:REPLY_CHARACTERS_KEPT]) or None
