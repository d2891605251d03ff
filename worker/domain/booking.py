"""How a command's end enters the books, whether a connector or a person reports it (R32, R35, R39)."""

from typing import assert_never

from worker.domain.automatic import claim
from worker.domain.decision import Refusal, Verdict
from worker.domain.draft import Draft
from worker.domain.facts import OutcomeReported
from worker.domain.order import Command
from worker.domain.refunding import refund_failed, refund_succeeded, refund_surplus
from worker.domain.settling import settle_failed, settle_succeeded
from worker.domain.voiding import void_failed, void_succeeded


def book_done(draft: Draft, command: Command, done: int, operation_id: str, rule: str) -> Verdict:
    """Books a command as done. A settle whose id is another capture's becomes suspect instead."""
    match command.operation:
        case "settle":
            before = claim(draft, command, done, operation_id)
            if before is None:
                return make_suspect(
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


def book_not_done(draft: Draft, command: Command, rule: str, code: str | None) -> None:
    """Books a command as failed: its amount is no longer in flight."""
    match command.operation:
        case "settle":
            settle_failed(draft, command, rule, code)
        case "refund":
            refund_failed(draft, command, rule, code)
        case "cancel":
            void_failed(draft, command, rule, code)
        case _:
            assert_never(command.operation)


def make_suspect(draft: Draft, command: Command, reason: str) -> Verdict:
    """Leaves the amount reserved and freezes the payment until a person looks; nothing is booked as done."""
    draft.update(command, state="suspect")
    draft.tell("command.suspect", "R32", f"{reason} (R32)", {"commandId": command.command_id, "value": command.value})
    return "applied"


def refuse_as_suspect(draft: Draft, fact: OutcomeReported, reason: str) -> Refusal:
    """Reports an outcome that contradicts the books, and changes no money."""
    draft.tell(
        "command.suspect", "R32", f"{reason} (R32)",
        {"commandId": fact.command_id, "value": fact.value, "outcome": fact.outcome},
    )  # fmt: skip
    return Refusal("suspect", "R32", f"{reason} (R32)")


def refuse_second_end(draft: Draft, command: Command, fact: OutcomeReported) -> Refusal:
    return refuse_as_suspect(draft, fact, f"Command {command.command_id} already ended as {command.state}")


def mark_of(fact: OutcomeReported) -> str:
    """Identifies an interim outcome or a decision, to recognize its repeats."""
    return f"{fact.outcome} {fact.at} {fact.attempts}"
