"""What can happen to an order. A fact is a value; where it came from is not part of it."""

from typing import Literal, assert_never

from msgspec import Struct

OutcomeKind = Literal[
    "succeeded", "declined", "manual", "suspect", "unknown",
    "retried", "resolved", "abandoned",
]  # fmt: skip


class Recipient(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One party of a split payment; amounts in minor units of the payment's value."""

    id: str
    name: str
    document_type: str
    document: str
    role: str
    amount: int
    commission_amount: int | None = None
    charge_processing_fee: bool | None = None
    chargeback_liable: bool | None = None


class Authorization(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One payment as it was authorized."""

    payment_id: str
    transaction_id: str
    authorization_id: str
    connector: str
    value: int
    reference_value: int
    max_value: int
    tid: str | None = None
    nsu: str | None = None
    group: str | None = None
    expires_at_ms: int | None = None
    recipients: tuple[Recipient, ...] = ()

    @property
    def most(self) -> int:
        """The larger of its two values; the cap does not count, since it may stand for no limit."""
        return max(self.value, self.reference_value)


class _Fact(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag_field="fact"):
    order_id: str


class OrderAuthorized(_Fact, frozen=True, kw_only=True, tag="order.authorized"):
    merchant: str
    currency: str
    value: int
    payments: tuple[Authorization, ...]


class PaymentAuthorized(_Fact, frozen=True, kw_only=True, tag="payment.authorized"):
    payment: Authorization


class PaymentAutoSettled(_Fact, frozen=True, kw_only=True, tag="payment.auto_settled"):
    payment_id: str
    settle_id: str
    value: int


class OrderChanged(_Fact, frozen=True, kw_only=True, tag="order.changed"):
    request_id: str
    discount_value: int
    increment_value: int
    items_changed: bool = False


class CancelRequested(_Fact, frozen=True, kw_only=True, tag="order.cancel_requested"):
    reason: str


class InvoiceIssued(_Fact, frozen=True, kw_only=True, tag="invoice.issued"):
    """An Output invoice is a sale, an Input invoice a return."""

    type: Literal["Output", "Input"]
    invoice_number: str
    invoice_value: int
    currency: str | None = None  # the order's, where it is not named
    tracking: dict[str, str | bool] | None = None  # as in `TrackingUpdated`


class TrackingUpdated(_Fact, frozen=True, kw_only=True, tag="invoice.tracking_updated"):
    invoice_number: str
    fields: dict[str, str | bool]  # tracking fields by their name in the message, as far as given


class OutcomeReported(_Fact, frozen=True, kw_only=True, tag="command.outcome"):
    """What became of a command, or what a person decided about one, or about an amount that no command carries."""

    outcome: OutcomeKind
    command_id: str = ""  # empty: a person gave up an amount of an invoice or an automatic settlement
    payment_id: str = ""
    value: int = 0  # done, in real value
    operation_id: str | None = None
    code: str | None = None
    message: str | None = None
    attempts: int = 0
    at: str = ""
    by: str | None = None
    reason: str | None = None
    invoice_number: str | None = None
    settle_id: str | None = None


class TimePassed(_Fact, frozen=True, kw_only=True, tag="time.passed"):
    """The order's next deadline has come: an authorization is about to lapse, or does."""


class ConnectorsNamed(_Fact, frozen=True, kw_only=True, tag="connectors.named"):
    """The connectors file now names every connector of the order."""


Fact = (
    OrderAuthorized
    | PaymentAuthorized
    | PaymentAutoSettled
    | OrderChanged
    | CancelRequested
    | InvoiceIssued
    | TrackingUpdated
    | OutcomeReported
    | TimePassed
    | ConnectorsNamed
)


def authorizations(fact: Fact) -> tuple[Authorization, ...]:
    """The payments that a fact would add; the kinds that add none are the most frequent, and come first."""
    match fact:
        case OutcomeReported() | InvoiceIssued() | OrderChanged() | TrackingUpdated() | PaymentAutoSettled():
            return ()
        case CancelRequested() | TimePassed() | ConnectorsNamed():
            return ()
        case OrderAuthorized():
            return fact.payments
        case PaymentAuthorized():
            return (fact.payment,)
        case _:
            assert_never(fact)
