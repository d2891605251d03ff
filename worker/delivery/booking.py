"""Books the results of attempts: the command's new state, its outcome message and its dead letter."""

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from worker.connector.answers import Answer, refuse_used_id
from worker.delivery import outcomes, schedule
from worker.delivery.job import Job, JobState
from worker.delivery.sending import Result
from worker.delivery.store import CommandUpdate, EndedAttempt, OperationOwner, Store
from worker.kafka.dead_letters import ReasonCode
from worker.stream.cycle import Cycle

_REASONS: dict[JobState, ReasonCode] = {
    "declined": "declined", "manual": "manual", "suspect": "suspect", "unknown": "unknown_outcome",
}  # fmt: skip


async def book(cycle: Cycle, store: Store, results: Sequence[Result]) -> list[Job]:
    """Books the results of attempts that this owner began in this epoch; returns their commands as changed."""
    mine = [replace(one, job=replace(one.job)) for one in results if cycle.epochs.get(one.job.partition) == one.epoch]
    if not mine:
        return []
    believed = await _refuse_used_ids(store, mine)
    attempts = [
        EndedAttempt(
            one.job.id, one.job.attempts, one.at_ms, one.answer.fate, one.status, one.answer.message, one.reply
        )
        for one in believed
    ]
    await store.update([_update(cycle, one) for one in believed], attempts)
    return [one.job for one in believed]


async def end_at_horizon(cycle: Cycle, store: Store, jobs: Iterable[Job]) -> None:
    """Ends commands as unknown, not as failed: their amounts stay reserved until a person resolves them (R33)."""
    await store.update([_end(cycle, job, "unknown", _no_answer_after(job.attempts), cycle.now_ms) for job in jobs])


def _no_answer_after(attempts: int) -> Answer:
    times = "one attempt" if attempts == 1 else f"{attempts} attempts"
    return Answer("unknown", "horizon", f"no definite answer after {times}")


async def _refuse_used_ids(store: Store, results: Sequence[Result]) -> list[Result]:
    """R32: an operation id belongs to one command or automatic settlement; of two answers the first is believed."""
    used = await store.used_operations(
        (one.job.command.payment_id, one.answer.operation_id) for one in results if one.answer.operation_id is not None
    )
    return [replace(one, answer=_unless_used(one, used)) for one in results]


def _unless_used(result: Result, used: dict[tuple[str, str], OperationOwner]) -> Answer:
    """A settle that returns exactly what the gateway captured by itself is that capture, and succeeds (R27)."""
    job, answer = result.job, result.answer
    if answer.fate != "succeeded" or answer.operation_id is None:
        return answer
    key = job.command.payment_id, answer.operation_id
    owner = used.get(key)
    if owner is None or (owner.command_id is None and (job.operation, answer.value) == ("settle", owner.untouched)):
        owner = used[key] = OperationOwner(job.id)
    if owner.command_id == job.id:
        return answer
    return refuse_used_id(answer, "another command's" if owner.command_id else "an automatic settlement's")


def _update(cycle: Cycle, result: Result) -> CommandUpdate:
    job, answer, at_ms = result.job, result.answer, result.at_ms
    attempt, job.begun = job.begun, None
    if answer.fate in ("succeeded", "declined", "manual", "suspect"):
        return replace(_end(cycle, job, answer.fate, answer, at_ms), attempt=attempt)
    schedule.put_off(job, result.connector, answer, at_ms)
    return CommandUpdate(job, code=answer.code, message=answer.message, attempt=attempt)


def _end(cycle: Cycle, job: Job, state: JobState, answer: Answer, at_ms: int) -> CommandUpdate:
    """Publishes the command's outcome, and makes a bad one a dead letter."""
    job.state, job.changes, job.done = state, job.changes + 1, answer.value
    cycle.publish(outcomes.of_job(
        job, state, at_ms, value=answer.value, operation_id=answer.operation_id, code=answer.code,
        message=answer.message,
    ))  # fmt: skip
    if (reason := _REASONS.get(state)) is not None:
        order_id, merchant = job.command.order_id, job.command.merchant
        cycle.dead_letter(job.record, reason, answer.message, order_id=order_id, merchant=merchant)
    return CommandUpdate(job, answer.operation_id, answer.code, answer.message, at_ms)
