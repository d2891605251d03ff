"""One command on its way to a connector."""

from collections.abc import Container
from typing import Literal

from msgspec import Struct

from worker.connector.command import Command
from worker.delivery.window import Key
from worker.domain.order import Operation
from worker.kafka.records import Record

JobState = Literal["waiting", "succeeded", "declined", "manual", "suspect", "unknown", "resolved", "abandoned"]

IN_LINE: tuple[JobState, ...] = ("waiting", "suspect", "unknown")  # holds back the next command of its payment (I6)


class Job(Struct):
    """A command that was taken over, as its row stood when it was read."""

    command: Command
    operation: Operation
    record: Record
    partition: int
    traceparent: str | None
    turn: bool = False  # whether everything before it on its payment has ended (I6)
    state: JobState = "waiting"
    changes: int = 0
    attempts: int = 0
    uncertain: bool = False
    first_attempt_ms: int | None = None  # of those that may have had an effect: the horizon begins here
    doubts: int = 0  # attempts since then that may have had an effect, without a definite answer
    due_ms: int = 0
    begun: int | None = None  # the attempt in flight
    done: int = 0  # the value that the connector or a person said was done

    @property
    def id(self) -> str:
        return self.command.command_id

    @property
    def key(self) -> Key:
        """Its place in the schedule."""
        return self.due_ms, self.id

    def may_be_sent(self, partitions: Container[int], now_ms: int) -> bool:
        """Whether an attempt may begin now, by whoever owns these partitions."""
        waits = self.turn and self.state == "waiting" and self.begun is None
        return waits and self.due_ms <= now_ms and self.partition in partitions
