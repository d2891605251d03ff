"""What connectors answered to commands (R32–R38). What people decide about them is in `interventions.py`."""

from typing import Literal, assert_never

from worker.domain.automatic import is_automatic
from worker.domain.booking import book_done, book_not_done, make_suspect, mark_of, refuse_as_suspect, refuse_second_end
from worker.domain.decision import EventType, Verdict
from worker.domain.draft import Draft
from worker.domain.facts import OutcomeReported
from worker.domain.interventions import give_up_amount, intervene
from worker.domain.order import Command

Interim = Literal["unknown", "manual", "suspect"]

# The event for a command that waits for an answer or for a person, with its rule.
_INTERIM: dict[Interim, tuple[EventType, str]] = {
    "unknown": ("command.unknown", "R33"), "manual": ("command.manual", "R37"), "suspect": ("command.suspect", "R32"),
}  # fmt: skip


def outcome_reported(draft: Draft, fact: OutcomeReported) -> Verdict:
    """Applies what the delivery worker or a person reports about a command, or about an amount without one."""
    if not fact.command_id:
        return give_up_amount(draft, fact)
    command = draft.order.commands.get(fact.command_id)
    if command is None:
        return refuse_as_suspect(draft, fact, f"No command {fact.command_id} was ever issued for this order")
    draft.cause = command.cause
    match fact.outcome:
        case "succeeded":
            return _succeeded(draft, command, fact)
        case "declined":
            return _declined(draft, command, fact)
        case "unknown" | "manual" | "suspect":
            return _interim(draft, command, fact, fact.outcome)
        case "retried" | "resolved" | "abandoned":
            return intervene(draft, command, fact, fact.outcome)
    assert_never(fact.outcome)


def _succeeded(draft: Draft, command: Command, fact: OutcomeReported) -> Verdict:
    operation_id = fact.operation_id or command.request_id
    if not command.in_flight:
        booked = command.state, command.done, command.operation_id
        if booked == ("succeeded", fact.value, operation_id):
            return "duplicate"
        return refuse_second_end(draft, command, fact)
    if not 0 < fact.value <= command.value:
        return make_suspect(draft, command, f"{draft.amount(fact.value)} done of {draft.amount(command.value)} asked")
    if (owner := _owner_of_id(draft, command, operation_id)) is not None:
        return make_suspect(draft, command, f"Operation id {operation_id} is {owner}")
    return book_done(draft, command, fact.value, operation_id, "R32")


def _owner_of_id(draft: Draft, command: Command, operation_id: str) -> str | None:
    """Names what else in the payment has this operation id already, if anything."""
    if any(
        one.operation_id == operation_id
        and one.payment_id == command.payment_id
        and one.command_id != command.command_id
        for one in draft.order.commands.values()
    ):
        return "another command's"
    if command.operation != "settle" and is_automatic(draft.order, command.payment_id, operation_id):
        return "an automatic settlement's"
    return None


def _declined(draft: Draft, command: Command, fact: OutcomeReported) -> Verdict:
    if not command.in_flight:
        if command.state == "declined":
            return "duplicate"
        return refuse_second_end(draft, command, fact)
    book_not_done(draft, command, "R35", fact.code or fact.message)
    return "applied"


def _interim(draft: Draft, command: Command, fact: OutcomeReported, interim: Interim) -> Verdict:
    mark = mark_of(fact)
    if mark in command.marks:
        return "duplicate"
    if not command.in_flight:
        if fact.outcome == "suspect":
            return refuse_second_end(draft, command, fact)
        return "duplicate"
    draft.update(command, state=interim, marks=(*command.marks, mark))
    event, rule = _INTERIM[interim]
    draft.tell(
        event, rule,
        f"The {command.operation} of {draft.amount(command.value)} is {interim}: "
        f"{fact.message or fact.code or 'a person must look'} ({rule})",
        {"value": command.value, "commandId": command.command_id, "paymentId": command.payment_id,
         "code": fact.code, "attempts": fact.attempts},
    )  # fmt: skip
    return "applied"
