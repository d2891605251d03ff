"""Money that the gateway captured by itself (R27)."""

from typing import Literal

from worker.domain import lacking, missing
from worker.domain.allocation import automatic_reference, split
from worker.domain.decision import Refusal, Verdict, conflict
from worker.domain.draft import Draft, where_any, with_shares
from worker.domain.facts import PaymentAutoSettled
from worker.domain.order import Command, Order, Payment, Settlement, UnbookedCapture, automatic_key
from worker.domain.refunding import refund_surplus
from worker.domain.voiding import undo_booked


def auto_settled(draft: Draft, fact: PaymentAutoSettled) -> Verdict:
    """Books what fits; what does not waits for the payment's commands in flight, then is checked against the cap."""
    order = draft.order
    payment = order.payment(fact.payment_id)
    if payment is None:
        return "parked"
    if _is_ours(order, fact.payment_id, fact.settle_id):
        return "duplicate"
    known = _known(order, fact)
    if known is not None and not (known.suspect and draft.terms.replayed and known.value == fact.value):
        if known.value == fact.value:
            return "duplicate"
        return conflict(f"Automatic settlement {fact.settle_id} was already reported with {draft.amount(known.value)}")
    for same in _unbooked(order, fact.payment_id, fact.settle_id):
        order.unbooked.remove(same)
    capture = UnbookedCapture(fact.payment_id, fact.settle_id, fact.value)
    match _judge(draft, payment, capture):
        case "waits":
            order.unbooked.append(capture)
            draft.keeps_record = True
        case "suspect":
            return Refusal("suspect", "R27", _suspicion(draft, payment, capture))
        case "booked":
            pass
    return "applied"


def judge_waiting(draft: Draft) -> None:
    """Judges automatic settlements that waited for their payment's commands, as soon as that is possible."""
    for capture in [one for one in draft.order.unbooked if not one.suspect]:
        draft.order.unbooked.remove(capture)
        verdict = _judge(draft, draft.payment(capture.payment_id), capture)
        if verdict == "waits":
            draft.order.unbooked.append(capture)
        else:
            draft.judged.append((capture.payment_id, capture.settle_id, verdict == "suspect"))


def _judge(draft: Draft, payment: Payment, capture: UnbookedCapture) -> Literal["booked", "waits", "suspect"]:
    if capture.value <= payment.untouched:
        _book(draft, payment, capture)
        return "booked"
    if payment.settling or payment.voiding:
        return "waits"
    if payment.used - payment.booked + capture.value <= payment.cap:
        _book(draft, payment, capture, undo_booked(draft, payment, "R27"))
        return "booked"
    draft.order.unbooked.append(UnbookedCapture(capture.payment_id, capture.settle_id, capture.value, suspect=True))
    draft.tell(
        "payment.suspect", "R27", _suspicion(draft, payment, capture),
        {"value": capture.value, "cap": payment.cap, "used": payment.used, "paymentId": payment.payment_id},
        ("surplus", capture.settle_id),
    )  # fmt: skip
    return "suspect"


def _suspicion(draft: Draft, payment: Payment, capture: UnbookedCapture) -> str:
    return (
        f"Automatic settlement {capture.settle_id} of {draft.amount(capture.value)} does not fit payment "
        f"{payment.payment_id}: {draft.amount(payment.used)} of at most {draft.amount(payment.cap)} is used (R27)"
    )


def _book(draft: Draft, payment: Payment, capture: UnbookedCapture, undone: int = 0) -> None:
    reference = automatic_reference(payment, capture.value)
    shares = split(payment, capture.value)
    draft.reserve(payment, "settled", capture.value, "R27")
    with_shares(payment, shares, -1)
    payment.settled += capture.value
    payment.settled_reference += reference
    draft.order.automatic[automatic_key(capture.payment_id, capture.settle_id)] = capture.value
    draft.tell(
        "payment.auto_settled", "R27",
        f"The gateway settled {draft.amount(capture.value)} of payment {payment.payment_id} by itself (R27)",
        {"value": capture.value, "paymentId": payment.payment_id, "settleId": capture.settle_id,
         **where_any(undone=undone)},
        ("surplus", capture.settle_id),
    )  # fmt: skip
    covered = missing.cover(draft, reference, payment.payment_id)
    final = tuple(lack for lack in covered if lack.amount and lack.kind not in lacking.UNASKED)
    payment.settlements.append(
        Settlement(capture.settle_id, capture.value, reference, automatic=True, shares=shares, covered=final)
    )
    refund_surplus(draft, capture.settle_id)


def claim(draft: Draft, command: Command, done: int, settle_id: str) -> int | None:
    """Our settle returned this id: if the gateway reported it as its own capture, the two are one.

    Returns how much of it was booked and told already; None where they cannot be the same.
    """
    order = draft.order
    for capture in _unbooked(order, command.payment_id, settle_id):
        order.unbooked.remove(capture)
        if not capture.suspect:
            draft.judged.append((capture.payment_id, capture.settle_id, False))
    key = automatic_key(command.payment_id, settle_id)
    if key not in order.automatic:
        return 0
    payment = draft.payment(command.payment_id)
    index, settlement = draft.settlement(payment, settle_id)
    if settlement.value != done or settlement.reference_taken or _was_given_back(order, settlement):
        return None
    del payment.settlements[index]
    del order.automatic[key]
    with_shares(payment, settlement.shares, +1)
    payment.settled -= settlement.value
    payment.settled_reference -= settlement.reference
    draft.release(payment, "settled", settlement.value, "R27", command.command_id)
    missing.uncover(draft, settlement.covered)
    return settlement.value


def _was_given_back(order: Order, settlement: Settlement) -> bool:
    """PARTIAL: whether it led to a refund, so that without it we would keep less than settles were asked for (I4)."""
    asked = sum(
        one.reference if one.in_flight else min(one.done_reference, one.reference)
        for one in order.commands.values()
        if one.operation == "settle"
    )
    return order.mode == "PARTIAL" and order.taken - settlement.reference < asked


def is_automatic(order: Order, payment_id: str, settle_id: str) -> bool:
    """Whether the gateway reported this settlement as its own, booked or not."""
    return automatic_key(payment_id, settle_id) in order.automatic or bool(_unbooked(order, payment_id, settle_id))


def _is_ours(order: Order, payment_id: str, settle_id: str) -> bool:
    return any(
        one.operation == "settle" and one.payment_id == payment_id and one.operation_id == settle_id
        for one in order.commands.values()
    )


def _known(order: Order, fact: PaymentAutoSettled) -> UnbookedCapture | None:
    """The same automatic settlement as it was reported before."""
    if (value := order.automatic.get(automatic_key(fact.payment_id, fact.settle_id))) is not None:
        return UnbookedCapture(fact.payment_id, fact.settle_id, value)
    return next(iter(_unbooked(order, fact.payment_id, fact.settle_id)), None)


def _unbooked(order: Order, payment_id: str, settle_id: str) -> list[UnbookedCapture]:
    """The same automatic settlement where it is not booked yet, or suspect; there is at most one."""
    return [one for one in order.unbooked if (one.payment_id, one.settle_id) == (payment_id, settle_id)]
