"""Reads and writes the delivery worker's tables in sets of rows, inside the worker's transaction."""

from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from worker.connector.answers import AttemptFate
from worker.connector.command import decode_command
from worker.delivery.job import Job
from worker.delivery.window import Key
from worker.domain.objection import DecisionKind
from worker.kafka import names
from worker.kafka.records import Record
from worker.postgres.connecting import Connection
from worker.postgres.queries import load
from worker.postgres.statement_batch import StatementBatch
from worker.postgres.values import columns, milliseconds, milliseconds_or_none, moment, moment_or_none
from worker.stream.stored_records import decode_headers, encode_headers

# What one cycle handles at most; the next cycle finds the rest.
GIVEN_UP_MAX = 500
DECISIONS_MAX = 500
# The commands that these decisions are about, which are all in memory at once.
DECIDED_BYTES_MAX = 8 << 20

_SQL = load("worker.delivery")


class EndedAttempt(Struct, frozen=True):
    """The result of one attempt, as its row keeps it."""

    command_id: str
    attempt: int
    at_ms: int
    fate: AttemptFate
    status: int | None
    message: str
    reply: str | None


class OperationOwner(Struct, frozen=True):
    """Whose operation id it is: a command's, or an automatic settlement's."""

    command_id: str | None
    untouched: int = 0
    """The automatic settlement's value if nothing of it was refunded, else 0."""


class CommandUpdate(Struct, frozen=True):
    """The new content of a command's row."""

    job: Job
    operation_id: str | None = None
    code: str | None = None
    message: str | None = None
    ended_ms: int | None = None
    attempt: int | None = None  # the one that was in flight until now


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
    """The delivery worker's tables within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def take_over(self, jobs: Mapping[str, Job], now_ms: int) -> list[Job]:
        """Adds the new commands among these to the schedule, and returns them: it may be their turn already."""
        rows = await self._connection.fetch(_SQL["take_over"], *columns([
            (job.id, job.partition, job.command.order_id, job.command.payment_id, job.command.sequence, job.operation,
             job.command.connector, job.command.value, *job.record.origin, job.record.key, job.record.value,
             encode_headers(job.record.headers), moment(job.record.timestamp_ms), job.traceparent, moment(job.due_ms),
             moment(now_ms))
            for job in jobs.values()
        ]))  # fmt: skip
        return [replace(jobs[row["command_id"]], turn=row["turn"]) for row in rows]

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
        """Shortens waits in these partitions that a clock ahead of ours, by so many milliseconds (0: unknown), has set.

        No command waits beyond `latest_ms` then, and one that was never sent does not wait at all.
        """
        await self._connection.execute(
            _SQL["correct_due_times"], list(ahead_ms), [timedelta(milliseconds=one) for one in ahead_ms.values()],
            moment(now_ms), moment(latest_ms),
        )  # fmt: skip

    async def connectors(self) -> list[str]:
        """Every connector for which commands wait."""
        return [row["connector"] for row in await self._connection.fetch(_SQL["connectors_with_work"])]

    async def next_due(self, connector: str, partitions: Iterable[int], after: Key, limit: int) -> list[Key]:
        """A connector's next commands after this one, by due time."""
        due_ms, command_id = after
        rows = await self._connection.fetch(
            _SQL["next_due"], connector, list(partitions), moment(due_ms), command_id, limit
        )
        return [_key(row) for row in rows]

    async def commands(self, ids: Iterable[str]) -> dict[str, Job]:
        """These commands in any state, as the table has them."""
        rows = await self._connection.fetch(_SQL["commands"], list(ids))
        return {row["command_id"]: _job(row) for row in rows}

    async def sendable(self, ids: Collection[str], partitions: Container[int], now_ms: int) -> list[Job]:
        """Those of these commands that may be sent now."""
        jobs = await self.commands(ids) if ids else {}
        return [job for job in jobs.values() if job.may_be_sent(partitions, now_ms)]

    async def past_horizon(self, connector: str, partitions: Iterable[int], before_ms: int, now_ms: int) -> list[str]:
        """A connector's unknown commands that are due and whose first attempt was before this time."""
        rows = await self._connection.fetch(
            _SQL["past_horizon"], connector, moment(before_ms), list(partitions), moment(now_ms), GIVEN_UP_MAX
        )
        return [row["command_id"] for row in rows]

    async def attempts_without_result(self, partitions: Iterable[int]) -> list[tuple[str, int, str]]:
        """Commands with an attempt that has no result yet: id, partition, connector."""
        rows = await self._connection.fetch(_SQL["attempts_without_result"], list(partitions))
        return [(row["command_id"], row["partition"], row["connector"]) for row in rows]

    async def unresolved(self, partitions: Iterable[int]) -> list[tuple[str, str, int, float]]:
        """Commands without a definite answer: connector, state, how many, and the age of the oldest in seconds."""
        rows = await self._connection.fetch(_SQL["count_unresolved"], list(partitions))
        return [(row["connector"], row["state"], row["number"], row["age_seconds"]) for row in rows]

    async def mark_lost(self, due_ms: Mapping[str, int]) -> None:
        """Counts the attempts of these commands as unknown; they may be sent again from `due_ms` on."""
        if due_ms:
            rows = [(command_id, moment(one)) for command_id, one in due_ms.items()]
            await self._connection.execute(_SQL["mark_lost"], *columns(rows))

    async def update(self, commands: Sequence[CommandUpdate], attempts: Sequence[EndedAttempt] = ()) -> None:
        """Writes the new state of commands and the results of attempts."""
        both = StatementBatch()
        both.add_rows(_SQL["end_attempts"], [
            (one.command_id, one.attempt, moment(one.at_ms), one.fate, one.status, one.message, one.reply)
            for one in attempts
        ])  # fmt: skip
        both.add_rows(_SQL["update_commands"], [
            (one.job.id, one.job.state, one.job.changes, one.job.uncertain, moment(one.job.due_ms),
             moment_or_none(one.job.first_attempt_ms), one.job.done, one.operation_id, one.code, one.message,
             moment_or_none(one.ended_ms), one.attempt)
            for one in commands
        ])  # fmt: skip
        await both.execute(self._connection)

    async def used_operations(self, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], OperationOwner]:
        """Who has each of these (payment, operation id) already; those that nobody has are left out."""
        pairs = list(wanted)
        if not pairs:
            return {}
        rows = await self._connection.fetch(
            _SQL["used_operations"], [payment for payment, _ in pairs], [operation for _, operation in pairs]
        )
        owners: dict[tuple[str, str], OperationOwner] = {}
        for row in rows:
            key = row["payment_id"], row["operation_id"]
            if row["command_id"] is not None or key not in owners:  # a command of ours with this id came first
                owners[key] = OperationOwner(row["command_id"], row["untouched"])
        return owners

    async def decisions(self, partitions: Iterable[int]) -> list[OperatorDecision]:
        """Decisions of people that are not applied yet, the first ones."""
        rows = await self._connection.fetch(
            _SQL["waiting_decisions"], list(partitions), DECISIONS_MAX, DECIDED_BYTES_MAX
        )
        return [
            OperatorDecision(
                id=row["id"], action=row["action"], order_id=row["order_id"], command_id=row["command_id"],
                invoice_number=row["invoice_number"], settle_id=row["settle_id"], value=row["value"],
                operation_id=row["operation_id"], by=row["decided_by"], reason=row["reason"],
                at_ms=milliseconds(row["decided_at"]), changes=row["changes"],
            )
            for row in rows
        ]  # fmt: skip

    async def mark_applied(self, refusals: Mapping[int, str | None], now_ms: int) -> None:
        """Marks these decisions as published (None), or as refused with a sentence."""
        await self._connection.execute(_SQL["mark_applied"], list(refusals), list(refusals.values()), moment(now_ms))

    async def close_dead_letters(self, decided: Collection[tuple[Job, OperatorDecision]]) -> None:
        """Closes the dead letters of commands about which a person has decided, each command once."""
        if decided:
            await self._connection.execute(_SQL["close_dead_letters"], *columns([
                (*job.record.origin, "replayed" if one.action == "retry" else "discarded", one.by, one.reason,
                 moment(one.at_ms))
                for job, one in decided
            ]))  # fmt: skip


def begin_attempts(writes: StatementBatch, jobs: Sequence[Job], epochs: Mapping[int, int], now_ms: int) -> None:
    """Writes attempts down with the cycle's last statement: nothing is sent before its commit anyway."""
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
        traceparent=row["traceparent"], turn=row["turn"], state=row["state"], changes=row["changes"],
        attempts=row["attempts"], uncertain=row["uncertain"], due_ms=milliseconds(row["due_at"]), begun=row["begun"],
        first_attempt_ms=milliseconds_or_none(row["first_attempt_at"]), doubts=row["doubts"], done=row["done"],
    )  # fmt: skip
