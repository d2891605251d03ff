"""What people decide about a command, or about an amount that no command carries (R39)."""

from typing import Literal, assert_never

from worker.domain import lacking, missing
from worker.domain.booking import book_done, book_not_done, make_suspect, mark_of, refuse_second_end
from worker.domain.decision import EventType, Verdict, refused
from worker.domain.draft import Draft
from worker.domain.facts import OutcomeReported
from worker.domain.identity import fingerprint_of_automatic
from worker.domain.order import Command
from worker.domain.possible import is_settled_under, lapsed_of, most_done, suspect_settlements
from worker.domain.refunding import drop_returns_above, retry_refund
from worker.domain.settling import retry_settle
from worker.domain.voiding import retry_void

Action = Literal["retried", "resolved", "abandoned"]


def intervene(draft: Draft, command: Command, fact: OutcomeReported, action: Action) -> Verdict:
    """Applies a person's decision about a command, once, however often it is reported."""
    mark = mark_of(fact)
    if mark in command.marks:
        return "duplicate"
    verdict = _apply(draft, command, fact, action)
    if verdict == "applied":
        command = draft.order.commands[command.command_id]
        draft.update(command, marks=(*command.marks, mark))
    return verdict


def _apply(draft: Draft, command: Command, fact: OutcomeReported, action: Action) -> Verdict:
    match action:
        case "retried":
            return _retry(draft, command, fact)
        case "resolved":
            return _resolve(draft, command, fact)
        case "abandoned":
            return _abandon(draft, command, fact)
        case _:
            assert_never(action)


def _retry(draft: Draft, command: Command, fact: OutcomeReported) -> Verdict:
    """An open command goes on under its own requestId; for one that ended badly there is a new command (R39)."""
    asked = 0
    if _was_left_open(command):
        draft.update(command, state="sent")
        what = f"the {command.operation} of {draft.amount(command.value)} is sent again under the same request id"
    elif not command.in_flight and command.missing:
        asked = _ask_again(draft, command)
        what = f"{draft.amount(asked)} asked again" if asked else "there is nothing left that may be asked again"
    else:
        what = "there is nothing to ask again"
    _tell_decision(draft, "command.retried", command, fact, what, asked)
    return "applied"


def _was_left_open(command: Command) -> bool:
    """Whether the connector's answer left it open. One that only the books doubt was answered: it is not sent again."""
    marks = (mark for mark in reversed(command.marks) if not mark.startswith("abandoned"))  # abandoning changed nothing
    return command.state in ("unknown", "suspect") and next(marks, "").startswith(command.state)


def _ask_again(draft: Draft, command: Command) -> int:
    match command.operation:
        case "settle":
            return retry_settle(draft, command)
        case "refund":
            return retry_refund(draft, command)
        case "cancel":
            return retry_void(draft, command)
        case _:
            assert_never(command.operation)


def _resolve(draft: Draft, command: Command, fact: OutcomeReported) -> Verdict:
    if not command.in_flight:
        if command.state == "succeeded" and command.done == fact.value:
            return "duplicate"
        if command.state == "declined" and fact.value == 0:
            return "duplicate"
        return refuse_second_end(draft, command, fact)
    if (most := most_done(draft.payment(command.payment_id), command)) < fact.value:
        return refused(
            "R39",
            f"Resolution refused: {draft.amount(fact.value)} is above the {draft.amount(most)} that can have been done",
        )
    what = f"{draft.amount(fact.value)} was done" if fact.value else "it was not done"
    _tell_decision(draft, "command.resolved", command, fact, what)
    if fact.value:
        return _book_done_by_hand(draft, command, fact.value, fact.operation_id or command.request_id)
    book_not_done(draft, command, "R39", "not done")
    return "applied"


def _book_done_by_hand(draft: Draft, command: Command, done: int, operation_id: str) -> Verdict:
    """A person may name one operation for several refunds or voids, but never one for two settles."""
    if is_settled_under(draft.payment(command.payment_id), command, operation_id):
        return make_suspect(draft, command, f"Settle id {operation_id} is another settlement's")
    return book_done(draft, command, done, operation_id, "R39")


def _abandon(draft: Draft, command: Command, fact: OutcomeReported) -> Verdict:
    """Gives up what failed or came short: it no longer holds the order (R39)."""
    if command.in_flight or not command.missing:
        _tell_decision(draft, "command.abandoned", command, fact, "there is nothing to give up")
        return "applied"
    order, value = draft.order, draft.order.missing_value(command)
    not_invoiced = missing.give_up(draft, command)
    what = f"{draft.amount(value)} given up"
    if not_invoiced > 0:
        what += f", and with it {draft.amount(not_invoiced)} of later invoices"
    _tell_decision(draft, "command.abandoned", command, fact, what, value)
    drop_returns_above(draft, order.invoiced - lacking.lost(order))
    return "applied"


def give_up_amount(draft: Draft, fact: OutcomeReported) -> Verdict:
    """Gives up a lapsed amount of an invoice, or a suspect automatic settlement (R39)."""
    order, given_up = draft.order, 0
    if fact.outcome != "abandoned" or not (fact.invoice_number or fact.settle_id):
        return refused("R39", "A decision without a command names an invoice or an automatic settlement to abandon")
    if fact.invoice_number:
        given_up = missing.give_up_lapsed(order, lapsed_of(order, fact.invoice_number))
    for capture in suspect_settlements(order, fact.settle_id):
        order.unbooked.remove(capture)
        order.refused.append(fingerprint_of_automatic(capture.payment_id, capture.settle_id, capture.value))
        given_up += capture.value
    if not given_up:
        return "duplicate"
    cause = ("invoice", fact.invoice_number) if fact.invoice_number else ("surplus", fact.settle_id or "")
    draft.tell(
        "command.abandoned", "R39", f"{draft.amount(given_up)} given up by {fact.by}: {fact.reason} (R39)",
        {"value": given_up, "by": fact.by}, cause,
    )  # fmt: skip
    drop_returns_above(draft, order.invoiced - lacking.lost(order))
    return "applied"


def _tell_decision(
    draft: Draft, kind: EventType, command: Command, fact: OutcomeReported, what: str, value: int = 0
) -> None:
    draft.tell(
        kind, "R39", f"{fact.by} decided ({fact.reason}): {what} (R39)",
        {"value": value or fact.value, "commandId": command.command_id, "paymentId": command.payment_id, "by": fact.by},
    )  # fmt: skip
