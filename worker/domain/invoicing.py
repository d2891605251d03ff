"""Invoices, returns and tracking (R4, R6, R7, R10, R11, R12, R18, R19, R20)."""

from msgspec.structs import replace

from worker.domain import lacking
from worker.domain.decision import Verdict, conflict, refused
from worker.domain.draft import Draft
from worker.domain.facts import InvoiceIssued, TrackingUpdated
from worker.domain.order import Invoice, Lack
from worker.domain.refunding import demand


def invoice_issued(draft: Draft, fact: InvoiceIssued) -> Verdict:
    order, number = draft.order, fact.invoice_number
    output = fact.type == "Output"
    known = order.invoices.get(number)
    if known is not None:
        same_currency = fact.currency in (None, order.currency)
        if (known.output, known.value) == (output, fact.invoice_value) and same_currency:
            return "duplicate"
        kind = "Output" if known.output else "Input"
        return conflict(f"Invoice {number} is already known as {kind} of {draft.amount(known.value)}")
    if fact.currency not in (None, order.currency):
        return refused("R12", f"Invoice refused: it is in {fact.currency}, the order is in {order.currency}")
    if order.phase == "canceled":
        return refused("R22", f"Invoice refused: order {order.order_id} is canceled")
    return _sale(draft, fact) if output else _return(draft, fact)


def _sale(draft: Draft, fact: InvoiceIssued) -> Verdict:
    order, number, value = draft.order, fact.invoice_number, fact.invoice_value
    if order.phase != "open":
        order.invoices[number] = Invoice(number, True, value, 0, standalone=True)
        draft.tell(
            "invoice.standalone", "R7",
            f"Invoice {number} of {draft.amount(value)} stands alone: the order is already invoiced (R7)",
            {"value": value},
        )  # fmt: skip
        return "applied"
    due = min(value, order.value - order.invoiced)
    excess = value - due
    order.invoices[number] = Invoice(number, True, value, due, tracking=fact.tracking)
    order.invoiced += due
    rule = "R6" if excess else "R4"
    draft.tell(
        "invoice.accepted", rule,
        f"Invoice {number} of {draft.amount(value)} accepted"
        + (f", {draft.amount(excess)} of it above the order's value" if excess else "") + f" ({rule})",
        {"value": value, "excess": excess, "invoiced": order.invoiced},
    )  # fmt: skip
    lacking.add(order, Lack(number, "held", lacking.unlisted(order)))
    return "applied"


def _return(draft: Draft, fact: InvoiceIssued) -> Verdict:
    order, number, value = draft.order, fact.invoice_number, fact.invoice_value
    lost = lacking.lost(order)
    dropped = min(order.dropped, lost)  # part of what is lacking for good: not to be counted twice
    returnable = order.invoiced - lost - (order.returned - dropped)
    if value > returnable:
        return refused(
            "R18",
            f"Return refused: {draft.amount(value)} is more than the {draft.amount(max(0, returnable))} "
            "that can be returned",
        )
    order.invoices[number] = Invoice(number, False, value, value, tracking=fact.tracking)
    order.returned += value
    draft.tell(
        "invoice.accepted", "R18", f"Return {number} of {draft.amount(value)} accepted (R18)",
        {"value": value, "excess": 0, "returned": order.returned},
    )  # fmt: skip
    later = draft.terms.returns == "after_invoiced" and order.phase == "open"
    demand(draft, value, ("invoice", number), "R20" if later else "R18", after_invoiced=later)
    return "applied"


def tracking_updated(draft: Draft, fact: TrackingUpdated) -> Verdict:
    """Changes tracking fields, never money."""
    known = draft.order.invoices.get(fact.invoice_number)
    if known is None or known.standalone:
        what = "stands alone" if known else "is not an accepted invoice"
        return refused("R11", f"Tracking refused: {fact.invoice_number} {what}")
    before = known.tracking or {}
    after = before | fact.fields
    if known.tracking is not None and after == before:
        return "duplicate"
    draft.order.invoices[fact.invoice_number] = replace(known, tracking=after)
    draft.tell("tracking.updated", "R11", f"Tracking of invoice {fact.invoice_number} updated (R11)")
    return "applied"
