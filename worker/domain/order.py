"""The state of one order: the result of folding its accepted facts.

Amounts of payments, settlements and commands are in real value; `reference` is what they count for the order (R26).
Everything in an `Order` may be changed only by a draft (`draft.py`), which works on a copy.

An `array_like` struct is stored by position, without names: a new field comes last and has a default.
"""

from typing import Literal

from msgspec import Struct, field

from worker.domain.facts import Recipient
from worker.domain.money import proportional
from worker.domain.terms import Mode

Phase = Literal["open", "invoiced", "finished", "canceled"]
Operation = Literal["settle", "refund", "cancel"]
CommandState = Literal["sent", "succeeded", "declined", "manual", "suspect", "unknown"]
LackKind = Literal["held", "waiting", "lapsed", "failed", "short", "abandoned", "rounding"]
Cause = tuple[str, str]  # why something is asked for: kind and id
Split = tuple[tuple[int, int], ...]  # an amount shared among recipients: for each, an amount and a commission
Covers = tuple[tuple[str, int], ...]  # which invoices an amount is for, and how much of each


class Lack(Struct, frozen=True, array_like=True, gc=False):
    """What one accepted invoice lacks, in reference value, and why."""

    invoice: str
    kind: LackKind
    amount: int
    command_id: str = ""


class Settlement(Struct, frozen=True, array_like=True, gc=False):
    """One confirmed capture, and what of it can still be refunded."""

    settle_id: str
    value: int
    reference: int
    automatic: bool = False
    refunded: int = 0
    refunding: int = 0
    kept_for_retry: int = 0  # of a declined or short refund: only its retry may take it (R21)
    reference_taken: int = 0  # of the reference value: refunded, in flight or kept for a retry
    shares: Split = ()  # of an automatic one: how it was split
    covered: tuple[Lack, ...] = ()  # of an automatic one: what it covered of what had failed or was abandoned

    @property
    def refundable(self) -> int:
        return self.value - self.refunded - self.refunding - self.kept_for_retry

    @property
    def refundable_reference(self) -> int:
        return self.reference - self.reference_taken


class Share(Struct, frozen=True, array_like=True, gc=False):
    """What one recipient is still to receive."""

    recipient: Recipient
    rest: int
    commission_rest: int


class Payment(Struct, array_like=True):
    """One authorization and what became of it: S, P, C, D, F, G of docs/rules.md, and what they count for the order."""

    payment_id: str
    transaction_id: str
    authorization_id: str
    connector: str
    authorized: int
    cap: int
    reference: int
    tid: str | None = None
    nsu: str | None = None
    group: str | None = None
    expires_at_ms: int | None = None
    later: bool = False  # came after the order was opened
    decided: bool = False  # whether its connector's mode is known
    settles_once: bool = False  # asked for all at once, and its voids are booked, not sent (TOTAL, HOLD, R2)
    asked: bool = False  # a payment that settles once has been asked to settle
    warned: bool = False
    lapsed: bool = False
    sequence: int = 0
    settled: int = 0
    settling: int = 0
    voided: int = 0
    voiding: int = 0
    refunded: int = 0
    refunding: int = 0
    booked: int = 0  # the part of `voided` that the connector was never told
    settled_reference: int = 0
    settling_reference: int = 0
    voided_reference: int = 0  # voided and voiding
    booked_reference: int = 0
    settlements: list[Settlement] = field(default_factory=list)
    shares: list[Share] = field(default_factory=list)
    booked_shares: Split = ()  # what `booked` took

    @property
    def used(self) -> int:
        return self.settled + self.settling + self.voided + self.voiding

    @property
    def untouched(self) -> int:
        """The part of the authorized amount that nothing has asked for, lapsed or not."""
        return max(0, self.authorized - self.used)

    @property
    def untouched_reference(self) -> int:
        return max(0, self.reference - self.settled_reference - self.settling_reference - self.voided_reference)

    @property
    def open(self) -> int:
        return 0 if self.lapsed else self.untouched

    @property
    def open_reference(self) -> int:
        return 0 if self.lapsed else self.untouched_reference

    @property
    def headroom(self) -> int:
        """Room above the authorized amount, below the cap."""
        return 0 if self.lapsed else self.untouched_headroom

    @property
    def untouched_headroom(self) -> int:
        """The part of that room that nothing has asked for, lapsed or not."""
        return self.cap - max(self.authorized, self.used)


class Command(Struct, frozen=True, array_like=True, gc=False):
    """One settle, refund or cancel of one amount on one payment, from its decision to its end."""

    command_id: str
    request_id: str
    operation: Operation
    payment_id: str
    value: int
    reference: int
    cause_kind: str
    cause_id: str
    sequence: int
    state: CommandState = "sent"
    done: int = 0
    done_reference: int = 0
    operation_id: str | None = None
    settle_id: str | None = None  # of a refund: the settlement it is taken from
    retry_of: str | None = None
    missing: int = 0  # reference value that failed or came short, neither retried, covered nor abandoned
    abandoned: bool = False
    booked_before: int = 0  # of a cancel: the part that was booked as voided before and is not in flight
    covers: Covers = ()  # of a settle
    shares: Split = ()  # of a split settle or void
    marks: tuple[str, ...] = ()  # interim outcomes and decisions already seen

    @property
    def cause(self) -> Cause:
        return self.cause_kind, self.cause_id

    @property
    def in_flight(self) -> bool:
        """Whether its outcome is still open: its amount stays reserved."""
        return self.state in ("sent", "manual", "suspect", "unknown")

    @property
    def by_hand(self) -> bool:
        """Whether a person closed it: its operation id is what they wrote down (R39)."""
        return any(mark.startswith("resolved ") for mark in self.marks)

    @property
    def undone(self) -> int:
        """How much of a failed or short command was not done."""
        return self.value - max(self.booked_before, self.done)


class Invoice(Struct, frozen=True, array_like=True, gc=False):
    """An accepted invoice; `due` is its value without the excess (R6), 0 for a standalone one (R7)."""

    number: str
    output: bool
    value: int
    due: int
    standalone: bool = False
    tracking: dict[str, str | bool] | None = None


class Change(Struct, frozen=True, array_like=True, gc=False):
    discount: int
    increment: int


class Demand(Struct, frozen=True, array_like=True, gc=False):
    """A decided refund that waits for confirmed money (or, R20, for the order to be invoiced); reference value."""

    cause_kind: str
    cause_id: str
    amount: int
    after_invoiced: bool = False

    @property
    def cause(self) -> Cause:
        return self.cause_kind, self.cause_id


class UnbookedCapture(Struct, frozen=True, array_like=True, gc=False):
    """An automatic settlement that waits to be judged, or that was judged suspect (R27)."""

    payment_id: str
    settle_id: str
    value: int
    suspect: bool = False


def automatic_key(payment_id: str, settle_id: str) -> str:
    """The key of an automatic settlement, with its payment: two gateways may give the same id."""
    return f"{payment_id}\x1f{settle_id}"


class Order(Struct):
    order_id: str
    merchant: str = ""
    currency: str = ""
    value: int = 0  # V
    mode: Mode | None = None  # not decided while a connector is unknown
    phase: Phase = "open"
    opened: bool = False
    invoiced: int = 0  # O
    returned: int = 0  # R
    dropped: int = 0  # of R: waiting refunds that were dropped, because what they would return was given up
    given_back: int = 0  # refunds decided by changes, surplus or cancellation
    refund_crumbs: int = 0  # parts of refunds too small to be sent alone; the next one takes them (reference value)
    given_up: int = 0  # TOTAL, HOLD: the part of V − K that a person gave up
    version: int = 0
    events: int = 0  # the last event's sequence
    updated_at_ms: int = 0
    content: str = ""  # digest of the authorization, to tell a repeat from a conflict
    awaits_connectors: bool = False
    payments: list[Payment] = field(default_factory=list)
    payment_contents: dict[str, str] = field(default_factory=dict)
    invoices: dict[str, Invoice] = field(default_factory=dict)
    changes: dict[str, Change] = field(default_factory=dict)
    commands: dict[str, Command] = field(default_factory=dict)
    lacks: list[Lack] = field(default_factory=list)
    demands: list[Demand] = field(default_factory=list)
    unbooked: list[UnbookedCapture] = field(default_factory=list, name="held")
    automatic: dict[str, int] = field(default_factory=dict)  # settled by the gateway: payment/settleId -> value
    refused: list[str] = field(default_factory=list)  # digests of refused facts

    @property
    def taken(self) -> int:
        """K: settled and in flight, less `given_back`; reference value."""
        gross = 0
        for payment in self.payments:
            gross += payment.settled_reference + payment.settling_reference
        return gross - self.given_back

    @property
    def lacking(self) -> int:
        """What accepted invoices lack in all."""
        return max(0, self.invoiced - self.taken)

    @property
    def undecided(self) -> list[Payment]:
        """Payments of which it is not known yet how they can be settled (R2)."""
        return [payment for payment in self.payments if not payment.decided]

    def payment(self, payment_id: str) -> Payment | None:
        for payment in self.payments:
            if payment.payment_id == payment_id:
                return payment
        return None

    def missing_value(self, command: Command) -> int:
        """What a failed or short command still misses, in real value; of a void at most what is open."""
        value = proportional(command.undone, command.missing, command.reference - command.done_reference)
        if command.operation == "cancel":
            payment = self.payment(command.payment_id)
            return min(value, payment.open) if payment else 0
        return value
