"""Applies people's decisions to the schedule and publishes them; the ledger decides what they mean for money (R39)."""

from collections.abc import Sequence

from worker.delivery import outcomes
from worker.delivery.job import Job
from worker.delivery.store import CommandUpdate, OperatorDecision, Store
from worker.domain.objection import changed_since, objection
from worker.stream.cycle import Cycle


async def apply(cycle: Cycle, store: Store, decisions: Sequence[OperatorDecision]) -> list[Job]:
    """Publishes these decisions, one after another, and writes all that they change; returns the changed commands.

    A decision is refused if its command has changed since the person looked at it, also by another of these decisions.
    """
    commands = await store.commands([one.command_id for one in decisions if one.command_id])
    refusals: dict[int, str | None] = {}
    decided: dict[str, tuple[Job, OperatorDecision]] = {}
    updates: dict[str, CommandUpdate] = {}
    for decision in decisions:
        job = commands.get(decision.command_id or "")
        refusals[decision.id] = refusal = why_not(job, decision) if job else None
        if refusal is not None:
            continue
        partition = job.partition if job else cycle.partition_of(decision.order_id)
        cycle.publish(outcomes.of_decision(decision, job, partition))
        if job is not None:
            decided.setdefault(job.id, (job, decision))
            if (update := update_of(job, decision, cycle.now_ms)) is not None:
                updates[job.id] = update
    await store.close_dead_letters(decided.values())
    await store.update(list(updates.values()))
    await store.mark_applied(refusals, cycle.now_ms)
    return [update.job for update in updates.values()]


def why_not(job: Job, decision: OperatorDecision) -> str | None:
    """One sentence on why this decision is refused for the command as it is now, or None."""
    # A resolve of its present state was let through because the books doubt the command; the ledger has the last word.
    doubted = decision.action == "resolve" and decision.changes == job.changes
    return changed_since(decision.changes, job.changes, job.state) or objection(
        decision.action, job.state, job.done, job.command.value, doubted=doubted
    )


def update_of(job: Job, decision: OperatorDecision, now_ms: int) -> CommandUpdate | None:
    """Changes the job as decided, and returns its row; None if the decision changes only the ledger."""
    match decision.action:
        case "retry" if job.state in ("unknown", "suspect"):
            job.state, job.changes = "waiting", job.changes + 1
            job.uncertain = True  # an effect is possible, so a decline proves nothing from here on (R35)
            job.first_attempt_ms, job.due_ms, job.doubts = now_ms, now_ms, 0  # the same request id for another horizon
            return CommandUpdate(job)
        case "resolve":
            job.state, job.changes, job.done = "resolved", job.changes + 1, decision.value or 0
            return CommandUpdate(job, decision.operation_id, "resolved", decision.reason, now_ms)
        case "abandon" if job.state == "declined":
            job.state, job.changes = "abandoned", job.changes + 1
            return CommandUpdate(job, None, "abandoned", decision.reason, now_ms)
        case _:
            return None
