"""Between the tables and the schedule: set-based reading and writing, inside the worker's transaction."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct

from worker.connector.command import Command
from worker.delivery.job import Job
from worker.kafka import names
from worker.kafka.records import Record
from worker.postgres.queries import load
from worker.stream.outbox import decode_headers, encode_headers

_SQL = load("worker.delivery")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_command = msgspec.json.Decoder(Command).decode


class Ended(Struct, frozen=True):
    """What one attempt came to, as the tables keep it."""

    command_id: str
    attempt: int
    at_ms: int
    fate: str
    status: int | None
    message: str


class Standing(Struct, frozen=True):
    """A command's row after something happened to it."""

    job: Job
    done: int = 0
    operation_id: str | None = None
    code: str | None = None
    message: str | None = None
    ended_ms: int | None = None


class Decision(Struct, frozen=True):
    """What a person decided."""

    id: int
    action: str
    order_id: str
    command_id: str | None
    invoice_number: str | None
    settle_id: str | None
    value: int | None
    operation_id: str | None
    by: str
    reason: str
    at_ms: int


def moment(at_ms: int) -> datetime:
    """A time for the database."""
    return _EPOCH + timedelta(milliseconds=at_ms)


def milliseconds(at: datetime | None) -> int | None:
    """A time of the database."""
    return None if at is None else (at - _EPOCH) // timedelta(milliseconds=1)


class Store:
    """One transaction's access to the delivery worker's tables."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def known(self, ids: Sequence[str]) -> dict[str, bytes]:
        """The bodies of those that were taken over before."""
        rows = await self._connection.fetch(_SQL["known_commands"], list(ids))
        return {row["command_id"]: row["body"] for row in rows}

    async def contiguous(self, payments: Iterable[str]) -> dict[str, int]:
        """Up to which place each payment's line was taken over without a gap."""
        rows = await self._connection.fetch(_SQL["lines_of_payments"], list(payments))
        return {
            row["payment_id"]: row["last"] if row["taken"] == row["last"] else await self._gapless(row["payment_id"])
            for row in rows
        }

    async def _gapless(self, payment_id: str) -> int:
        place = 0
        for row in await self._connection.fetch(_SQL["sequences_of_payment"], payment_id):
            if row["sequence"] != place + 1:
                break
            place += 1
        return place

    async def take_over(self, jobs: Sequence[Job], now_ms: int) -> None:
        """New commands join the schedule."""
        await self._write("take_over", [
            (job.id, job.partition, job.command.order_id, job.command.payment_id, job.command.sequence, job.operation,
             job.command.connector, job.command.value, job.record.topic, job.record.partition, job.record.offset,
             job.record.key, job.record.value, encode_headers(job.record.headers), moment(job.record.timestamp_ms),
             job.traceparent, moment(job.due_ms), moment(now_ms))
            for job in jobs
        ])  # fmt: skip

    async def begin(self, jobs: Sequence[Job], epochs: Mapping[int, int], now_ms: int) -> None:
        """Each attempt is written down before its first byte."""
        await self._write("begin_attempts", [
            (job.id, job.attempts, epochs[job.partition], moment(now_ms)) for job in jobs
        ])  # fmt: skip

    async def lose(self, jobs: Sequence[Job]) -> None:
        """Attempts without a result are doubtful from now on; the wait for them is counted once, not by each owner."""
        await self._write("lose_attempts", [(job.id, moment(job.due_ms)) for job in jobs])

    async def end(self, attempts: Sequence[Ended]) -> None:
        """What became of attempts."""
        await self._write("end_attempts", [
            (one.command_id, one.attempt, moment(one.at_ms), one.fate, one.status, one.message) for one in attempts
        ])  # fmt: skip

    async def update(self, standings: Sequence[Standing]) -> None:
        """The new state of commands."""
        await self._write("update_commands", [
            (one.job.id, one.job.state, one.job.changes, one.job.uncertain, moment(one.job.due_ms),
             None if one.job.first_attempt_ms is None else moment(one.job.first_attempt_ms), one.done,
             one.operation_id, one.code, one.message, None if one.ended_ms is None else moment(one.ended_ms))
            for one in standings
        ])  # fmt: skip

    async def used_operations(self, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """Which command of a payment has an operation id already."""
        pairs = list(wanted)
        if not pairs:
            return {}
        rows = await self._connection.fetch(
            _SQL["used_operations"], [payment for payment, _ in pairs], [operation for _, operation in pairs]
        )
        return {(row["payment_id"], row["operation_id"]): row["command_id"] for row in rows}

    async def lines(self, partitions: Iterable[int]) -> list[Job]:
        """Every command that still stands in its payment's line."""
        rows = await self._connection.fetch(_SQL["load_lines"], list(partitions))
        return [_job(row) for row in rows]

    async def command(self, command_id: str) -> tuple[Job, int] | None:
        """One command whatever its state, and what of it was done."""
        row = await self._connection.fetchrow(_SQL["load_command"], command_id)
        return (_job(row), row["done"]) if row else None

    async def decisions(self, partitions: Iterable[int]) -> list[Decision]:
        """What people decided and nobody has applied."""
        rows = await self._connection.fetch(_SQL["waiting_decisions"], list(partitions))
        return [
            Decision(
                row["id"], row["action"], row["order_id"], row["command_id"], row["invoice_number"], row["settle_id"],
                row["value"], row["operation_id"], row["decided_by"], row["reason"],
                milliseconds(row["decided_at"]) or 0,
            )
            for row in rows
        ]  # fmt: skip

    async def applied(self, answered: Mapping[int, str | None], now_ms: int) -> None:
        """These decisions are published, or refused with a sentence."""
        await self._connection.execute(_SQL["mark_applied"], list(answered), list(answered.values()), moment(now_ms))

    async def close_dead_letter(self, job: Job, decision: Decision) -> None:
        """Asked again, or closed: the command's dead letter waits for nobody any more."""
        status, record = "replayed" if decision.action == "retry" else "discarded", job.record
        await self._connection.execute(
            _SQL["close_dead_letter"], record.topic, record.partition, record.offset, status, decision.by,
            decision.reason, moment(decision.at_ms),
        )  # fmt: skip

    async def _write(self, query: str, rows: Sequence[Sequence[Any]]) -> None:
        if rows:
            await self._connection.execute(_SQL[query], *(list(column) for column in zip(*rows, strict=True)))


def _job(row: Any) -> Job:
    record = Record(
        names.COMMANDS, row["source_partition"], row["offset"], row["key"], row["body"],
        decode_headers(row["headers"]), milliseconds(row["timestamp"]) or 0,
    )  # fmt: skip
    return Job(
        command=_command(row["body"]), operation=row["operation"], record=record, partition=row["partition"],
        traceparent=row["traceparent"], state=row["state"], changes=row["changes"], attempts=row["attempts"],
        uncertain=row["uncertain"], first_attempt_ms=milliseconds(row["first_attempt_at"]),
        due_ms=milliseconds(row["due_at"]) or 0, begun=row["begun"],
    )  # fmt: skip
