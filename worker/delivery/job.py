"""One command on its way to a connector, and the line of commands of one payment (I6)."""

from bisect import insort

from msgspec import Struct

from worker.connector.command import Command, Operation
from worker.kafka.records import Record


class Job(Struct):
    """A command that was taken over and has not ended; the table's row in memory."""

    command: Command
    operation: Operation
    record: Record
    partition: int
    traceparent: str | None
    state: str = "waiting"
    changes: int = 0
    attempts: int = 0
    uncertain: bool = False
    first_attempt_ms: int | None = None
    due_ms: int = 0
    begun: int | None = None  # the attempt under way

    @property
    def id(self) -> str:
        return self.command.command_id


class Line:
    """The commands of one payment, one at a time, in the order in which they were decided."""

    def __init__(self, payment_id: str, contiguous: int) -> None:
        self.payment_id = payment_id
        self.contiguous = contiguous  # up to this sequence everything was taken over
        self.jobs: list[Job] = []

    def add(self, job: Job) -> None:
        """Takes its place by its sequence."""
        insort(self.jobs, job, key=lambda one: one.command.sequence)
        while any(one.command.sequence == self.contiguous + 1 for one in self.jobs):
            self.contiguous += 1

    def remove(self, job: Job) -> None:
        """It has ended, or left the line."""
        self.jobs.remove(job)

    def sendable(self) -> Job | None:
        """The job whose turn it is, if it may be sent: nothing in flight, nothing unresolved or missing before it."""
        if not self.jobs:
            return None
        first = self.jobs[0]
        if first.state != "waiting" or first.begun is not None or first.command.sequence > self.contiguous:
            return None
        return first
