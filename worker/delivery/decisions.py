"""Applies people's decisions to the schedule and publishes them; the ledger decides what they mean for money (R39)."""

from worker.delivery import outcomes
from worker.delivery.job import Job
from worker.delivery.store import CommandUpdate, OperatorDecision, Store
from worker.domain.objection import changed_since, objection
from worker.stream.cycle import Cycle


async def apply(cycle: Cycle, store: Store, decision: OperatorDecision) -> tuple[Job | None, str | None]:
    """Publishes the decision and changes its command.

    Returns the command as it is now, and the reason for a refusal if it had changed since the person looked at it.
    """
    command = await store.command(decision.command_id) if decision.command_id else None
    if command is None:
        cycle.publish(outcomes.of_decision(decision, None, cycle.partition_of(decision.order_id)))
        return None, None
    job, done = command
    if refusal := why_not(job, done, decision):
        return job, refusal
    cycle.publish(outcomes.of_decision(decision, job, job.partition))
    await store.close_dead_letter(job, decision)
    if (update := update_of(job, done, decision, cycle.now_ms)) is not None:
        await store.update([update])
    return job, None


def why_not(job: Job, done: int, decision: OperatorDecision) -> str | None:
    """One sentence on why this decision is refused for the command as it is now, or None."""
    # A resolve of its present state was let through because the books doubt the command; the ledger has the last word.
    doubted = decision.action == "resolve" and decision.changes == job.changes
    return changed_since(decision.changes, job.changes, job.state) or objection(
        decision.action, job.state, done, job.command.value, doubted=doubted
    )


def update_of(job: Job, done: int, decision: OperatorDecision, now_ms: int) -> CommandUpdate | None:
    """Changes the job as decided, and returns its row; None if the decision changes only the ledger."""
    match decision.action:
        case "retry" if job.state in ("unknown", "suspect"):
            job.state, job.changes = "waiting", job.changes + 1
            job.uncertain = True  # an effect is possible, so a decline proves nothing from here on (R35)
            job.first_attempt_ms, job.due_ms, job.doubts = now_ms, now_ms, 0  # the same request id for another horizon
            return CommandUpdate(job)
        case "resolve":
            job.state, job.changes = "resolved", job.changes + 1
            value = decision.value or 0
            return CommandUpdate(job, value, decision.operation_id, "resolved", decision.reason, now_ms)
        case "abandon" if job.state == "declined":
            job.state, job.changes = "abandoned", job.changes + 1
            return CommandUpdate(job, done, None, "abandoned", decision.reason, now_ms)
        case _:
            return None
