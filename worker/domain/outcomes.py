"""What became of commands, and what people decided about them (R32–R39)."""

from typing import Literal, assert_never

from msgspec.structs import replace

from worker.domain import lacking, missing
from worker.domain.automatic import claim, is_automatic
from worker.domain.decision import EventType, Refusal, Verdict, refused
from worker.domain.draft import Draft
from worker.domain.facts import OutcomeReported
from worker.domain.identity import fingerprint_of_automatic
from worker.domain.order import Command
from worker.domain.possible import is_settled_under, lapsed_of, most_done, suspect_settlements
from worker.domain.refunding import drop_returns_above, refund_failed, refund_succeeded, refund_surplus, retry_refund
from worker.domain.settling import retry_settle, settle_failed, settle_succeeded
from worker.domain.voiding import retry_void, void_failed, void_succeeded

Interim = Literal["unknown", "manual", "suspect"]
Decided = Literal["retried", "resolved", "abandoned"]

# The event for a command that waits for an answer or for a person, and its rule.
_INTERIM: dict[Interim, tuple[EventType, str]] = {
    "unknown": ("command.unknown", "R33"), "manual": ("command.manual", "R37"), "suspect": ("command.suspect", "R32"),
}  # fmt: skip


def outcome_reported(draft: Draft, fact: OutcomeReported) -> Verdict:
    """What the delivery worker or a person says of a command, or of an amount that no command carries."""
    if not fact.command_id:
        return _give_up_amount(draft, fact)
    command = draft.order.commands.get(fact.command_id)
    if command is None:
        return _suspicious(draft, fact, f"No command {fact.command_id} was ever issued for this order")
    draft.cause = command.cause
    match fact.outcome:
        case "succeeded":
            return _succeeded(draft, command, fact)
        case "declined":
            return _declined(draft, command, fact)
        case "unknown" | "manual" | "suspect":
            return _interim(draft, command, fact, fact.outcome)
        case "retried" | "resolved" | "abandoned":
            return _by_a_person(draft, command, fact, fact.outcome)
    assert_never(fact.outcome)


def _by_a_person(draft: Draft, command: Command, fact: OutcomeReported, decided: Decided) -> Verdict:
    """Each decision counts once, however often it is reported."""
    mark = _mark(fact)
    if mark in command.marks:
        return "duplicate"
    verdict = _decided(draft, command, fact, decided)
    if verdict == "applied":
        command = draft.order.commands[command.command_id]
        draft.update(command, marks=(*command.marks, mark))
    return verdict


def _mark(fact: OutcomeReported) -> str:
    """Tells a repeat of an interim outcome or decision from another one."""
    return f"{fact.outcome} {fact.at} {fact.attempts}"


def _decided(draft: Draft, command: Command, fact: OutcomeReported, decided: Decided) -> Verdict:
    match decided:
        case "retried":
            return _retried(draft, command, fact)
        case "resolved":
            return _resolved(draft, command, fact)
        case "abandoned":
            return _abandoned(draft, command, fact)
        case _:
            assert_never(decided)


def _suspicious(draft: Draft, fact: OutcomeReported, reason: str) -> Refusal:
    """What contradicts the books is shown to a person, and changes nothing in them."""
    draft.tell(
        "command.suspect", "R32", f"{reason} (R32)",
        {"commandId": fact.command_id, "value": fact.value, "outcome": fact.outcome},
    )  # fmt: skip
    return Refusal("suspect", "R32", f"{reason} (R32)")


def _ended_before(draft: Draft, command: Command, fact: OutcomeReported) -> Refusal:
    return _suspicious(draft, fact, f"Command {command.command_id} already ended as {command.state}")


def _succeeded(draft: Draft, command: Command, fact: OutcomeReported) -> Verdict:
    operation_id = fact.operation_id or command.request_id
    if not command.in_flight:
        booked = command.state, command.done, command.operation_id
        if booked == ("succeeded", fact.value, operation_id):
            return "duplicate"
        return _ended_before(draft, command, fact)
    if not 0 < fact.value <= command.value:
        return _make_suspect(draft, command, f"{draft.amount(fact.value)} done of {draft.amount(command.value)} asked")
    if (whose := _whose(draft, command, operation_id)) is not None:
        return _make_suspect(draft, command, f"Operation id {operation_id} is {whose}")
    return _done(draft, command, fact.value, operation_id, "R32")


def _whose(draft: Draft, command: Command, operation_id: str) -> str | None:
    """What else in the payment has this operation id already."""
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


def _done_by_hand(draft: Draft, command: Command, done: int, operation_id: str) -> Verdict:
    """A person may name one operation for several refunds or voids, but never one for two settles."""
    if is_settled_under(draft.payment(command.payment_id), command, operation_id):
        return _make_suspect(draft, command, f"Settle id {operation_id} is another settlement's")
    return _done(draft, command, done, operation_id, "R39")


def _done(draft: Draft, command: Command, done: int, operation_id: str, rule: str) -> Verdict:
    """Books what was done."""
    match command.operation:
        case "settle":
            before = claim(draft, command, done, operation_id)
            if before is None:
                return _make_suspect(
                    draft, command, f"Settle id {operation_id} is an automatic settlement of another value"
                )
            settle_succeeded(draft, command, done, operation_id, rule, before)
            if done > command.value:
                refund_surplus(draft, operation_id)
        case "refund":
            refund_succeeded(draft, command, done, operation_id, rule)
        case "cancel":
            void_succeeded(draft, command, done, operation_id, rule)
        case _:
            assert_never(command.operation)
    return "applied"


def _make_suspect(draft: Draft, command: Command, reason: str) -> Verdict:
    """Never booked as success; the payment is frozen for a person."""
    draft.update(command, state="suspect")
    draft.tell("command.suspect", "R32", f"{reason} (R32)", {"commandId": command.command_id, "value": command.value})
    return "applied"


def _declined(draft: Draft, command: Command, fact: OutcomeReported) -> Verdict:
    if not command.in_flight:
        if command.state == "declined":
            return "duplicate"
        return _ended_before(draft, command, fact)
    _not_done(draft, command, "R35", fact.code or fact.message)
    return "applied"


def _not_done(draft: Draft, command: Command, rule: str, code: str | None) -> None:
    match command.operation:
        case "settle":
            settle_failed(draft, command, rule, code)
        case "refund":
            refund_failed(draft, command, rule, code)
        case "cancel":
            void_failed(draft, command, rule, code)
        case _:
            assert_never(command.operation)


def _interim(draft: Draft, command: Command, fact: OutcomeReported, interim: Interim) -> Verdict:
    mark = _mark(fact)
    if mark in command.marks:
        return "duplicate"
    if not command.in_flight:
        if fact.outcome == "suspect":
            return _ended_before(draft, command, fact)
        return "duplicate"
    draft.update(command, state=interim, marks=(*command.marks, mark))
    told, rule = _INTERIM[interim]
    draft.tell(
        told, rule,
        f"The {command.operation} of {draft.amount(command.value)} is {interim}: "
        f"{fact.message or fact.code or 'a person must look'} ({rule})",
        {"value": command.value, "commandId": command.command_id, "paymentId": command.payment_id,
         "code": fact.code, "attempts": fact.attempts},
    )  # fmt: skip
    return "applied"


def _retried(draft: Draft, command: Command, fact: OutcomeReported) -> Verdict:
    """An open command goes on under its own requestId; for one that ended badly there is a new command (R39)."""
    asked, ended = 0, not command.in_flight
    if _is_asked_again(command):
        draft.update(command, state="sent")
        what = f"the {command.operation} of {draft.amount(command.value)} is sent again under the same request id"
    elif ended and command.missing and not command.abandoned:
        asked = _ask_again(draft, command)
        what = f"{draft.amount(asked)} asked again" if asked else "there is nothing left that may be asked again"
    else:
        what = "there is nothing to ask again"
    _tell_decision(draft, "command.retried", command, fact, what, asked)
    return "applied"


def _is_asked_again(command: Command) -> bool:
    """Whether its connector left it open: what only the books doubt has been answered and is not sent again."""
    told = (mark for mark in reversed(command.marks) if not mark.startswith("abandoned"))  # which changes nothing here
    return command.state in ("unknown", "suspect") and next(told, "").startswith(command.state)


def _ask_again(draft: Draft, command: Command) -> int:
    match command.operation:
        case "settle":
            return 0 if draft.order.phase == "canceled" else retry_settle(draft, command)
        case "refund":
            return retry_refund(draft, command)
        case "cancel":
            return retry_void(draft, command)
        case _:
            assert_never(command.operation)


def _resolved(draft: Draft, command: Command, fact: OutcomeReported) -> Verdict:
    if not command.in_flight:
        if command.state == "succeeded" and command.done == fact.value:
            return "duplicate"
        if command.state == "declined" and fact.value == 0:
            return "duplicate"
        return _ended_before(draft, command, fact)
    if (most := most_done(draft.payment(command.payment_id), command)) < fact.value:
        return refused(
            "R39",
            f"Resolution refused: {draft.amount(fact.value)} is above the {draft.amount(most)} that can have been done",
        )
    what = f"{draft.amount(fact.value)} was done" if fact.value else "it was not done"
    _tell_decision(draft, "command.resolved", command, fact, what)
    if fact.value:
        return _done_by_hand(draft, command, fact.value, fact.operation_id or command.request_id)
    _not_done(draft, command, "R39", "not done")
    return "applied"


def _abandoned(draft: Draft, command: Command, fact: OutcomeReported) -> Verdict:
    """Gives up what failed or came short: it no longer holds the order (R39)."""
    if command.in_flight or not command.missing:
        _tell_decision(draft, "command.abandoned", command, fact, "there is nothing to give up")
        return "applied"
    given_up = command.missing
    draft.update(command, missing=0, abandoned=True)
    order = draft.order
    if command.operation == "settle" and order.mode != "PARTIAL":
        order.given_up += given_up
    missing.give_up(draft, command.command_id)
    _tell_decision(draft, "command.abandoned", command, fact, f"{draft.amount(given_up)} given up", given_up)
    drop_returns_above(draft, order.invoiced - lacking.lost(order))
    return "applied"


def _give_up_amount(draft: Draft, fact: OutcomeReported) -> Verdict:
    """Gives up a lapsed amount of an invoice, or a suspect automatic settlement (R39)."""
    order, given_up = draft.order, 0
    if fact.outcome != "abandoned" or not (fact.invoice_number or fact.settle_id):
        return refused("R39", "A decision without a command names an invoice or an automatic settlement to abandon")
    if fact.invoice_number:
        for lack in lapsed_of(order, fact.invoice_number):
            order.lacks[order.lacks.index(lack)] = replace(lack, kind="abandoned")
            given_up += lack.amount
        if order.mode != "PARTIAL":
            order.given_up += given_up
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
