"""When two facts are the same: by their business key, and by the part of their content that moves money (R8)."""

from typing import assert_never

from worker.domain.facts import (
    Authorization,
    CancelRequested,
    ConnectorsNamed,
    Fact,
    InvoiceIssued,
    OrderAuthorized,
    OrderChanged,
    OutcomeReported,
    PaymentAuthorized,
    PaymentAutoSettled,
    TimePassed,
    TrackingUpdated,
)
from worker.domain.ids import digest


def content_of(authorization: Authorization) -> str:
    """An authorization's ids and amounts, and those of its recipients (R8)."""
    one = authorization
    amounts = (str(one.value), str(one.reference_value), str(max(one.value, one.max_value)))
    shares = (part for who in one.recipients for part in (who.id, str(who.amount), str(who.commission_amount)))
    return digest(one.payment_id, one.transaction_id, one.authorization_id, *amounts, *shares)


def order_content(fact: OrderAuthorized) -> tuple[str, ...]:
    """An order's currency and value, and its payments' contents (R8)."""
    return fact.currency, str(fact.value), *map(content_of, fact.payments)


def fingerprint(fact: Fact, currency: str = "") -> str:
    """A digest of a fact's kind, key and the content that moves money (R8). `currency`: of an invoice without one."""
    content: tuple[str, ...]
    match fact:
        case InvoiceIssued():
            content = (fact.invoice_number, fact.type, str(fact.invoice_value), fact.currency or currency)
        case TrackingUpdated():
            content = (fact.invoice_number, *(f"{name}={value}" for name, value in sorted(fact.fields.items())))
        case OrderChanged():
            content = (fact.request_id, str(fact.discount_value), str(fact.increment_value))
        case PaymentAutoSettled():
            return fingerprint_of_automatic(fact.payment_id, fact.settle_id, fact.value)
        case PaymentAuthorized():
            content = (content_of(fact.payment),)
        case OrderAuthorized():
            content = order_content(fact)
        case OutcomeReported():
            content = (fact.command_id, fact.outcome, fact.at, str(fact.value), fact.operation_id or "")
        case CancelRequested() | TimePassed() | ConnectorsNamed():
            content = ()
        case _:
            assert_never(fact)
    return digest(type(fact).__name__, *content)


def fingerprint_of_automatic(payment_id: str, settle_id: str, value: int) -> str:
    """The fingerprint of an automatic settlement, also where only these values of it are still at hand."""
    return digest(PaymentAutoSettled.__name__, payment_id, settle_id, str(value))
