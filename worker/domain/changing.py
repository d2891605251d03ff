"""Order changes and cancellation (R13–R17, R22–R24)."""

from worker.domain import missing
from worker.domain.allocation import by_amount
from worker.domain.decision import Verdict, conflict, refused
from worker.domain.draft import Draft
from worker.domain.facts import CancelRequested, OrderChanged
from worker.domain.money import MAX_MINOR
from worker.domain.order import Cause, Change
from worker.domain.refunding import demand, give_back_all
from worker.domain.settling import tell_missing_room
from worker.domain.voiding import void, void_open_rest


def order_changed(draft: Draft, fact: OrderChanged) -> Verdict:
    order = draft.order
    change = Change(fact.discount_value, fact.increment_value)
    if (known := order.changes.get(fact.request_id)) is not None:
        if known == change:
            return "duplicate"
        return conflict(
            f"Change {fact.request_id} is already known with {draft.amount(known.discount)} off "
            f"and {draft.amount(known.increment)} on"
        )
    if (refusal := _objection(draft, fact)) is not None:
        return refused("R14", f"Change refused: {refusal}")
    before, after = order.value, order.value - change.discount + change.increment
    order.changes[fact.request_id] = change
    draft.tell(
        "change.accepted", "R13",
        f"Order value changed from {draft.amount(before)} to {draft.amount(after)} (R13)",
        {"before": before, "value": after, "discountValue": change.discount, "incrementValue": change.increment},
    )  # fmt: skip
    if after < before:
        _lower(draft, after, ("change", fact.request_id))
    order.value = after
    if after > before:
        tell_missing_room(draft)
    return "applied"


def _objection(draft: Draft, fact: OrderChanged) -> str | None:
    """Why the change is not allowed (R14)."""
    order = draft.order
    after = order.value - fact.discount_value + fact.increment_value
    if order.phase != "open":
        return f"the order is {order.phase}"
    if fact.discount_value == fact.increment_value and not fact.items_changed:
        return f"{draft.amount(fact.discount_value)} off and on again changes nothing"
    if after <= 0:
        return (
            f"{draft.amount(order.value - after)} off would leave nothing of the {draft.amount(order.value)} "
            "order; that is a cancellation"
        )
    if after < order.invoiced:
        return (
            f"{draft.amount(order.value - after)} off would leave the order below the "
            f"{draft.amount(order.invoiced)} already invoiced"
        )
    if after > MAX_MINOR:
        return f"{draft.amount(after)} is more than an amount can be"
    return None


def _lower(draft: Draft, after: int, cause: Cause) -> None:
    """Voids what is open, then refunds what was taken in excess; the rest was never authorized (R15)."""
    order = draft.order
    taken = order.taken
    refund = max(0, taken - after)
    spare = sum(payment.open_reference for payment in by_amount(order)) - max(0, after - taken)
    void(draft, min(order.value - after - refund, max(0, spare)), cause, "R15")
    order.value = after
    demand(draft, refund, cause, "R15")
    missing.cover(draft)  # a settle that failed to take the total is missing less of it now


def cancel_requested(draft: Draft, _fact: CancelRequested) -> Verdict:
    order = draft.order
    if order.phase == "canceled":
        return "duplicate"
    if order.invoiced:
        return refused(
            "R23", f"Cancellation refused: {draft.amount(order.invoiced)} is already invoiced; change the order instead"
        )
    order.phase = "canceled"
    draft.tell("order.canceled", "R22", f"Order {order.order_id} is canceled (R22)", {"taken": order.taken})
    cause = ("cancel", order.order_id)
    void_open_rest(draft, cause, "R22")
    give_back_all(draft, cause, "R22")
    return "applied"
