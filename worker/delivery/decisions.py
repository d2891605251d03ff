"""Applies to the schedule what people decided, and tells of it; what it means for money, the ledger decides (R39)."""

from worker.delivery import outcomes
from worker.delivery.job import Job
from worker.delivery.store import OperatorDecision, Standing, Store
from worker.domain.objection import changed_since, objection
from worker.stream.cycle import Cycle


async def apply(cycle: Cycle, store: Store, decision: OperatorDecision) -> tuple[Job | None, str | None]:
    """Publishes the decision and changes the command it is about.

    Returns that command as it stands now, and why not, where it has moved on since the person saw it.
    """
    found = await store.command(decision.command_id) if decision.command_id else None
    if found is None:
        cycle.publish(outcomes.of_decision(decision, None, cycle.partition_of(decision.order_id)))
        return None, None
    job, done = found
    if refusal := why_not(job, done, decision):
        return job, refusal
    cycle.publish(outcomes.of_decision(decision, job, job.partition))
    await store.close_dead_letter(job, decision)
    if (standing := changed(job, done, decision, cycle.now_ms)) is not None:
        await store.update([standing])
    return job, None


def why_not(job: Job, done: int, decision: OperatorDecision) -> str | None:
    """One sentence on why the command, as it stands now, may not be decided so, or None."""
    # Whoever resolved it as it stands now was let to, because the books doubt it; the ledger has the last word.
    doubted = decision.action == "resolve" and decision.changes == job.changes
    return changed_since(decision.changes, job.changes, job.state) or objection(
        decision.action, job.state, done, job.command.value, doubted=doubted
    )


def changed(job: Job, done: int, decision: OperatorDecision, now_ms: int) -> Standing | None:
    """The command after the decision; None where only the ledger has something to do."""
    match decision.action:
        case "retry" if job.state in ("unknown", "suspect"):
            job.state, job.changes = "waiting", job.changes + 1
            job.uncertain = True  # something was done, perhaps: a refusal from here on proves nothing (R35)
            job.first_attempt_ms, job.due_ms, job.doubts = now_ms, now_ms, 0  # the same request id, another horizon
            return Standing(job)
        case "resolve":
            job.state, job.changes = "resolved", job.changes + 1
            value = decision.value or 0
            return Standing(job, value, decision.operation_id, "resolved", decision.reason, now_ms)
        case "abandon" if job.state == "declined":
            job.state, job.changes = "abandoned", job.changes + 1
            return Standing(job, done, None, "abandoned", decision.reason, now_ms)
        case _:
            return None
