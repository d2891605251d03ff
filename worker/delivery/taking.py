"""Turns records of the commands topic into jobs in the schedule; a record that cannot be read is a dead letter."""

from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from worker.connector.command import OPERATIONS, decode_command
from worker.delivery.job import Job
from worker.delivery.store import Store
from worker.domain.published import timestamp
from worker.kafka.envelope import Event, Unreadable, binary_headers, read_event
from worker.kafka.records import Record
from worker.stream.cycle import Cycle


async def take_over(cycle: Cycle, store: Store, records: Iterable[Record]) -> list[Job]:
    """Adds the commands that were never taken over to the schedule, and returns them.

    Of the other records, some are dead letters.
    """
    if not (jobs := _read_jobs(cycle, records)):
        return []
    new = await store.take_over(jobs, cycle.now_ms)
    if repeated := jobs.keys() - {job.id for job in new}:
        for before in (await store.commands(repeated)).values():
            _compare(cycle, jobs[before.id].record, before.record)
    return new


def _read_jobs(cycle: Cycle, records: Iterable[Record]) -> dict[str, Job]:
    """The commands in these records, each once, by their ids."""
    jobs: dict[str, Job] = {}
    for record in records:
        job = read_job(cycle, record)
        if job is None:
            continue
        if (earlier := jobs.get(job.id)) is not None:
            _compare(cycle, job.record, earlier.record)
        else:
            jobs[job.id] = job
    return jobs


def read_job(cycle: Cycle, record: Record) -> Job | None:
    """The command in a record, due now; None if the record became a dead letter."""
    event = read_event(record)
    if isinstance(event, Unreadable):
        cycle.dead_letter(record, event.reason, event.message)
        return None
    operation = event.type.removeprefix("command.")
    if operation not in OPERATIONS:
        cycle.dead_letter(record, "unknown_type", f"type {event.type[:100]!r} is not known here")
        return None
    try:
        command = decode_command(event.data)
    except msgspec.MsgspecError as problem:
        cycle.dead_letter(record, "invalid", str(problem))
        return None
    return Job(
        command=command, operation=operation, record=_without_envelope(record, event),
        partition=cycle.partition_of(command.order_id), traceparent=event.traceparent, due_ms=cycle.now_ms,
    )  # fmt: skip


def _without_envelope(record: Record, event: Event) -> Record:
    """The record with the bare command as its value, without an envelope or schema id around it."""
    if event.data is record.value:
        return record
    headers = binary_headers(event.type, event.id, event.time or timestamp(record.timestamp_ms), event.traceparent)
    return replace(record, value=bytes(event.data), headers=headers)


def _compare(cycle: Cycle, record: Record, before: Record) -> None:
    """Drops a repeat; a known `commandId` with another body is a dead letter and never sent."""
    if record.value != before.value:
        cycle.dead_letter(record, "suspect", "this commandId was taken over before with another body")
