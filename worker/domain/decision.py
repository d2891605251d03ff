"""A decision is a value: the order afterwards, and everything to be written and published."""

from typing import Literal

from msgspec import Struct, field

from worker.domain.order import Command, Order

Fate = Literal["applied", "duplicate", "parked", "refused"]
RefusalCode = Literal["rejected", "conflicting_duplicate", "suspect"]
Account = Literal[
    "issuer", "authorized", "headroom", "settling", "settled",
    "refunding", "refunded", "voiding", "voided", "lapsed",
]  # fmt: skip
# The schema of events lists the same types.
EventType = Literal[
    "order.opened", "order.invoiced", "order.finished", "order.canceled", "order.rejected", "payment.added",
    "payment.auto_settled", "payment.suspect", "payment.rejected", "authorization.expiring", "authorization.lapsed",
    "authorization.needed", "invoice.accepted", "invoice.standalone", "invoice.rejected", "tracking.updated",
    "tracking.rejected", "change.accepted", "change.rejected", "cancel.rejected", "settlement.requested",
    "settlement.confirmed", "settlement.failed", "refund.requested", "refund.confirmed", "refund.failed",
    "refund.waiting", "void.requested", "void.confirmed", "void.failed", "command.unknown", "command.manual",
    "command.suspect", "command.retried", "command.resolved", "command.abandoned",
]  # fmt: skip
Number = int | str | None


class Entry(Struct, frozen=True, array_like=True, gc=False):
    """One positive amount from one account of a payment to another: balanced by shape (I1)."""

    payment_id: str
    debit: Account  # where it comes from
    credit: Account  # where it goes
    amount: int
    rule: str
    command_id: str = ""


class Event(Struct, frozen=True, gc=False):
    """One thing that happened to the order, in its order's own sequence."""

    sequence: int
    type: EventType
    rule: str
    reason: str
    numbers: dict[str, Number]
    cause_kind: str
    cause_id: str


class Refusal(Struct, frozen=True):
    """Why a fact was refused; it becomes a dead letter with this code."""

    code: RefusalCode
    rule: str
    reason: str


Verdict = Literal["applied", "duplicate", "parked"] | Refusal
"""What a rule answers to a fact."""


def refused(rule: str, reason: str) -> Refusal:
    return Refusal("rejected", rule, f"{reason} ({rule})")


def conflict(reason: str) -> Refusal:
    """The same business key with other content (R8)."""
    return Refusal("conflicting_duplicate", "R8", f"{reason} (R8)")


class Decision(Struct):
    """What follows from one fact; `order` is a new value.

    A refused fact changes the order too: its event and its digest are kept. An applied fact may carry a refusal:
    a suspect automatic settlement changes the order and is a dead letter.
    """

    order: Order
    fate: Fate
    entries: list[Entry] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    refusal: Refusal | None = None
    keeps_record: bool = False  # an automatic settlement waits to be judged: its record must be kept until then
    # Automatic settlements that waited and are judged now: payment, settleId, whether suspect.
    judged: list[tuple[str, str, bool]] = field(default_factory=list)
    unparks: bool = False  # facts that wait for this order may be tried now
