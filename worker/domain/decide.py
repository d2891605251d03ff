"""The entry point of the rules: from an order and a fact to a decision (I8)."""

from typing import assert_never

from worker.domain import authorizing, automatic, changing, invoicing, outcomes
from worker.domain.authorizing import next_deadline_ms
from worker.domain.closing import settle_down
from worker.domain.decision import Decision, EventType, Refusal, Verdict
from worker.domain.draft import Draft
from worker.domain.facts import (
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
from worker.domain.identity import fingerprint
from worker.domain.order import Cause, Order
from worker.domain.terms import Terms

__all__ = ["decide", "next_deadline_ms"]

_NEVER_WAIT_FOR_CONNECTORS = (OrderAuthorized, OutcomeReported, TimePassed, ConnectorsNamed)


def decide(order: Order, fact: Fact, terms: Terms) -> Decision:
    """Decides what follows from a fact. The given order stays as it is; the decision has the order afterwards."""
    if not order.opened and not isinstance(fact, OrderAuthorized):
        return Decision(order, "parked")
    if order.awaits_connectors and not isinstance(fact, _NEVER_WAIT_FOR_CONNECTORS):
        return Decision(order, "parked")
    if order.refused and not terms.replayed and fingerprint(fact, order.currency) in order.refused:
        return Decision(order, "duplicate")
    draft = Draft(order, terms, _cause(fact))
    verdict = _judge(draft, fact)
    if isinstance(verdict, Refusal):
        return _refuse(draft, fact, verdict)
    if verdict != "applied":
        return Decision(order, verdict)
    settle_down(draft)
    return draft.decision("applied")


def _judge(draft: Draft, fact: Fact) -> Verdict:  # noqa: C901, PLR0911 - a table that mypy proves complete
    """Applies the rules for the fact's kind; the most frequent kinds come first."""
    match fact:
        case OutcomeReported():
            return outcomes.outcome_reported(draft, fact)
        case InvoiceIssued():
            return invoicing.invoice_issued(draft, fact)
        case OrderAuthorized():
            return authorizing.order_authorized(draft, fact)
        case OrderChanged():
            return changing.order_changed(draft, fact)
        case PaymentAutoSettled():
            return automatic.auto_settled(draft, fact)
        case PaymentAuthorized():
            return authorizing.payment_authorized(draft, fact)
        case TrackingUpdated():
            return invoicing.tracking_updated(draft, fact)
        case CancelRequested():
            return changing.cancel_requested(draft, fact)
        case TimePassed():
            return authorizing.time_passed(draft, fact)
        case ConnectorsNamed():
            return authorizing.connectors_named(draft, fact)
        case _:
            assert_never(fact)


def _refuse(draft: Draft, fact: Fact, refusal: Refusal) -> Decision:
    """Remembers the refusal and adds its event; the caller makes a dead letter of the fact (R8, R31)."""
    if refusal.code == "suspect" and isinstance(fact, PaymentAutoSettled):
        return draft.decision("applied", refusal)  # the order remembers it as suspect, its event is told
    known = fingerprint(fact, draft.order.currency)
    if known not in draft.order.refused and not isinstance(fact, CancelRequested):
        draft.order.refused.append(known)  # a repeat cannot be told from a second request: each is answered
    if refusal.code != "suspect":
        draft.tell(_rejected(fact), refusal.rule, refusal.reason, _numbers(fact) | _standing(draft.order))
    return draft.decision("refused", refusal)


def _rejected(fact: Fact) -> EventType:  # noqa: PLR0911 - as above
    """The type of the event for a refused fact."""
    match fact:
        case OrderAuthorized():
            return "order.rejected"
        case PaymentAuthorized() | PaymentAutoSettled():
            return "payment.rejected"
        case OrderChanged():
            return "change.rejected"
        case CancelRequested():
            return "cancel.rejected"
        case InvoiceIssued():
            return "invoice.rejected"
        case TrackingUpdated():
            return "tracking.rejected"
        case OutcomeReported():
            return "command.suspect"
        case TimePassed() | ConnectorsNamed():
            raise AssertionError(f"no rule refuses {fact}")
        case _:
            assert_never(fact)


def _cause(fact: Fact) -> Cause:
    """The cause that this fact's events name."""
    match fact:
        case InvoiceIssued() | TrackingUpdated():
            return "invoice", fact.invoice_number
        case OrderChanged():
            return "change", fact.request_id
        case CancelRequested():
            return "cancel", fact.order_id
        case PaymentAutoSettled():
            return "surplus", fact.settle_id
        case PaymentAuthorized():
            return "payment", fact.payment.payment_id
        case OrderAuthorized() | OutcomeReported() | TimePassed() | ConnectorsNamed():
            return "order", fact.order_id
        case _:
            assert_never(fact)


def _numbers(fact: Fact) -> dict[str, int | str | None]:
    """The amounts that a refused fact named."""
    match fact:
        case InvoiceIssued():
            return {"value": fact.invoice_value, "type": fact.type, "currency": fact.currency}
        case OrderChanged():
            return {"discountValue": fact.discount_value, "incrementValue": fact.increment_value}
        case OrderAuthorized() | PaymentAutoSettled():
            return {"value": fact.value}
        case OutcomeReported():
            return {"value": fact.value, "commandId": fact.command_id or None, "outcome": fact.outcome}
        case PaymentAuthorized():
            return {"value": fact.payment.value}
        case CancelRequested() | TrackingUpdated() | TimePassed() | ConnectorsNamed():
            return {}
        case _:
            assert_never(fact)


def _standing(order: Order) -> dict[str, int | str | None]:
    """The order's sums when it refused the fact."""
    return {"orderValue": order.value, "invoiced": order.invoiced, "returned": order.returned, "taken": order.taken}
