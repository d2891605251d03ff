"""Between the tables and the schedule: set-based reading and writing, inside the worker's transaction."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from msgspec import Struct

from worker.connector.answers import AttemptFate
from worker.connector.command import decode_command
from worker.delivery.job import Job
from worker.delivery.window import Key
from worker.domain.objection import DecisionKind
from worker.kafka import names
from worker.kafka.records import Record
from worker.postgres.connecting import Connection
from worker.postgres.queries import load
from worker.postgres.together import Together
from worker.postgres.values import columns, milliseconds, milliseconds_or_none, moment, moment_or_none
from worker.stream.stored_records import decode_headers, encode_headers

# How many of each one cycle handles; the next one finds the rest.
GIVEN_UP_MAX = 500
DECISIONS_MAX = 500

_SQL = load("worker.delivery")


class Ended(Struct, frozen=True):
    """What one attempt came to, as the tables keep it."""

    command_id: str
    attempt: int
    at_ms: int
    fate: AttemptFate
    status: int | None
    message: str
    reply: str | None


class Owner(Struct, frozen=True):
    """Whose an operation id is: a command's, or an automatic settlement's."""

    command_id: str | None
    untouched: int = 0
    """The automatic settlement's value, while nothing of it was refunded."""


class Standing(Struct, frozen=True):
    """A command's row after something happened to it."""

    job: Job
    done: int = 0
    operation_id: str | None = None
    code: str | None = None
    message: str | None = None
    ended_ms: int | None = None
    attempt: int | None = None  # the one under way until now


class OperatorDecision(Struct, frozen=True, kw_only=True):
    """What a person decided: a row of `decisions`."""

    id: int
    action: DecisionKind
    order_id: str
    command_id: str | None = None
    invoice_number: str | None = None
    settle_id: str | None = None
    value: int | None = None
    operation_id: str | None = None
    by: str
    reason: str
    at_ms: int
    changes: int | None = None
    """How often the command's state had changed when the person looked at it."""


class Store:
    """One transaction's access to the delivery worker's tables."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def known(self, ids: Sequence[str]) -> dict[str, bytes]:
        """The bodies with which these were taken over."""
        rows = await self._connection.fetch(_SQL["known_commands"], list(ids))
        return {row["command_id"]: row["body"] for row in rows}

    async def take_over(self, jobs: Collection[Job], now_ms: int) -> dict[str, bool]:
        """New commands join the schedule; returns the id of each, and whether it is its turn."""
        rows = await self._connection.fetch(_SQL["take_over"], *columns([
            (job.id, job.partition, job.command.order_id, job.command.payment_id, job.command.sequence, job.operation,
             job.command.connector, job.command.value, *job.record.origin, job.record.key, job.record.value,
             encode_headers(job.record.headers), moment(job.record.timestamp_ms), job.traceparent, moment(job.due_ms),
             moment(now_ms))
            for job in jobs
        ]))  # fmt: skip
        return {row["command_id"]: row["turn"] for row in rows}

    async def pass_turns(self, ended: Sequence[Job], now_ms: int) -> list[tuple[str, Key]]:
        """The commands that follow these on their payments and whose turn it is now: each with its connector."""
        if not ended:
            return []
        rows = await self._connection.fetch(
            _SQL["pass_turns"], *columns([(job.command.payment_id, job.command.sequence) for job in ended]),
            moment(now_ms),
        )  # fmt: skip
        return [(row["connector"], _key(row)) for row in rows]

    async def correct_due_times(self, ahead_ms: Mapping[int, int], now_ms: int, latest_ms: int) -> None:
        """Shortens waits in these partitions that a clock ahead of ours, by so many milliseconds, has made too long.

        0: how far it was ahead is not known. No command waits beyond `latest_ms`, and none that was never sent waits.
        """
        await self._connection.execute(
            _SQL["correct_due_times"], list(ahead_ms), [timedelta(milliseconds=one) for one in ahead_ms.values()],
            moment(now_ms), moment(latest_ms),
        )  # fmt: skip

    async def connectors(self) -> list[str]:
        """Every connector that has a command to send."""
        return [row["connector"] for row in await self._connection.fetch(_SQL["connectors_with_work"])]

    async def next_due(self, connector: str, partitions: Iterable[int], after: Key, limit: int) -> list[Key]:
        """A connector's next commands by time."""
        due_ms, command_id = after
        rows = await self._connection.fetch(
            _SQL["next_due"], connector, list(partitions), moment(due_ms), command_id, limit
        )
        return [_key(row) for row in rows]

    async def sendable(self, ids: Iterable[str], partitions: Iterable[int], now_ms: int) -> list[Job]:
        """Those of them that may be sent now, as they stand in the table."""
        rows = await self._connection.fetch(_SQL["sendable"], list(ids), moment(now_ms), list(partitions))
        return [_job(row) for row in rows]

    async def past_horizon(self, connector: str, partitions: Iterable[int], before_ms: int) -> list[str]:
        """Uncertain commands of a connector whose first attempt was before this time."""
        rows = await self._connection.fetch(
            _SQL["past_horizon"], connector, moment(before_ms), list(partitions), GIVEN_UP_MAX
        )
        return [row["command_id"] for row in rows]

    async def under_way(self, partitions: Iterable[int]) -> list[tuple[str, int, str]]:
        """Commands whose attempt has no result yet: id, partition, connector."""
        rows = await self._connection.fetch(_SQL["under_way"], list(partitions))
        return [(row["command_id"], row["partition"], row["connector"]) for row in rows]

    async def unresolved(self, partitions: Iterable[int]) -> list[tuple[str, str, int, float]]:
        """Commands without a definite answer: connector, state, how many, and the age of the oldest in seconds."""
        rows = await self._connection.fetch(_SQL["count_unresolved"], list(partitions))
        return [(row["connector"], row["state"], row["number"], row["age_seconds"]) for row in rows]

    async def lose(self, lost: Mapping[str, int]) -> None:
        """Attempts without a result are doubtful from now on; when they are due is set once, not by each owner."""
        if lost:
            rows = [(command_id, moment(due_ms)) for command_id, due_ms in lost.items()]
            await self._connection.execute(_SQL["lose_attempts"], *columns(rows))

    async def update(self, standings: Sequence[Standing], attempts: Sequence[Ended] = ()) -> None:
        """The new state of commands, and what became of attempts."""
        both = Together()
        both.add_rows(_SQL["end_attempts"], [
            (one.command_id, one.attempt, moment(one.at_ms), one.fate, one.status, one.message, one.reply)
            for one in attempts
        ])  # fmt: skip
        both.add_rows(_SQL["update_commands"], [
            (one.job.id, one.job.state, one.job.changes, one.job.uncertain, moment(one.job.due_ms),
             moment_or_none(one.job.first_attempt_ms), one.done, one.operation_id, one.code, one.message,
             moment_or_none(one.ended_ms), one.attempt)
            for one in standings
        ])  # fmt: skip
        await both.execute(self._connection)

    async def used_operations(self, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Owner]:
        """Who has an operation id of a payment already."""
        pairs = list(wanted)
        if not pairs:
            return {}
        rows = await self._connection.fetch(
            _SQL["used_operations"], [payment for payment, _ in pairs], [operation for _, operation in pairs]
        )
        found: dict[tuple[str, str], Owner] = {}
        for row in rows:
            key = row["payment_id"], row["operation_id"]
            if row["command_id"] is not None or key not in found:  # one of ours that has it was first
                found[key] = Owner(row["command_id"], row["untouched"])
        return found

    async def command(self, command_id: str) -> tuple[Job, int] | None:
        """One command whatever its state, and what of it was done."""
        row = await self._connection.fetchrow(_SQL["load_command"], command_id)
        return (_job(row), row["done"]) if row else None

    async def decisions(self, partitions: Iterable[int]) -> list[OperatorDecision]:
        """What people decided and nobody has applied."""
        rows = await self._connection.fetch(_SQL["waiting_decisions"], list(partitions), DECISIONS_MAX)
        return [
            OperatorDecision(
                id=row["id"], action=row["action"], order_id=row["order_id"], command_id=row["command_id"],
                invoice_number=row["invoice_number"], settle_id=row["settle_id"], value=row["value"],
                operation_id=row["operation_id"], by=row["decided_by"], reason=row["reason"],
                at_ms=milliseconds(row["decided_at"]), changes=row["changes"],
            )
            for row in rows
        ]  # fmt: skip

    async def applied(self, answered: Mapping[int, str | None], now_ms: int) -> None:
        """These decisions are published, or refused with a sentence."""
        await self._connection.execute(_SQL["mark_applied"], list(answered), list(answered.values()), moment(now_ms))

    async def close_dead_letter(self, job: Job, decision: OperatorDecision) -> None:
        """The command is asked again or closed: its dead letter no longer waits for anybody."""
        status = "replayed" if decision.action == "retry" else "discarded"
        await self._connection.execute(
            _SQL["close_dead_letter"], *job.record.origin, status, decision.by, decision.reason, moment(decision.at_ms)
        )


def write_down(writes: Together, jobs: Sequence[Job], epochs: Mapping[int, int], now_ms: int) -> None:
    """Each attempt is written down before its first byte, which waits for the end of this transaction anyhow."""
    at = moment(now_ms)
    writes.add_rows(_SQL["mark_begun"], [(job.id, job.attempts, at) for job in jobs])
    writes.add_rows(_SQL["begin_attempts"], [(job.id, job.attempts, epochs[job.partition], at) for job in jobs])


def _key(row: Any) -> Key:
    return milliseconds(row["due_at"]), row["command_id"]


def _job(row: Any) -> Job:
    record = Record(
        names.COMMANDS, row["source_partition"], row["offset"], row["key"], row["body"],
        decode_headers(row["headers"]), milliseconds(row["timestamp"]),
    )  # fmt: skip
    return Job(
        command=decode_command(row["body"]), operation=row["operation"], record=record, partition=row["partition"],
        traceparent=row["traceparent"], state=row["state"], changes=row["changes"], attempts=row["attempts"],
        uncertain=row["uncertain"], due_ms=milliseconds(row["due_at"]), begun=row["begun"],
        first_attempt_ms=milliseconds_or_none(row["first_attempt_at"]),
        doubts=row["doubts"],
    )  # fmt: skip
