"""Refunds: decided at once, sent as far as captures are confirmed (R15, R18, R20, R21)."""

from collections.abc import Callable

from msgspec.structs import replace

from worker.domain.allocation import by_settled
from worker.domain.draft import Draft
from worker.domain.money import half_even, proportional
from worker.domain.order import Cause, Command, Demand, Order, Payment, Settlement


def demand(draft: Draft, amount: int, cause: Cause, rule: str, after_invoiced: bool = False) -> None:
    """Decides a refund (reference value). What confirmed settlements cover is sent at once, the rest waits."""
    order = draft.order
    if amount <= 0:
        return
    if cause[0] != "invoice":
        order.given_back += amount
    order.demands.append(Demand(*cause, amount, after_invoiced))
    serve_demands(draft, rule)
    if waiting := sum(one.amount for one in order.demands if one.cause == cause):
        draft.tell(
            "refund.waiting", rule,
            f"A refund of {draft.amount(waiting)} waits "
            + ("until the order is invoiced" if after_invoiced else "for captured money") + f" ({rule})",
            {"amount": waiting}, cause,
        )  # fmt: skip


def serve_demands(draft: Draft, rule: str = "R21") -> None:
    """Sends as much of the waiting refunds as confirmed money covers by now, oldest first."""
    order = draft.order
    if not order.demands:
        return
    kept: list[Demand] = []
    all_wait = False
    for one in order.demands:
        if one.after_invoiced and order.phase == "open":
            kept.append(one)
        elif left := one.amount if all_wait else _serve(draft, one, rule):
            kept.append(replace(one, amount=left))
            all_wait = all_wait or _waits_for_money(order)
    order.demands = kept


def _waits_for_money(order: Order) -> bool:
    """Whether nothing at all can be refunded before a settle in flight has its outcome."""
    return any(payment.settling for payment in order.payments) and not any(
        settlement.refundable_reference > 0 for payment in order.payments for settlement in payment.settlements
    )


def _serve(draft: Draft, one: Demand, rule: str) -> int:
    """Issues refunds for one demand, lowest settled payment first, oldest settlement first; returns what still waits.

    What was too small to be sent alone joins the next refund (R26).
    """
    carried, too_small = draft.order.refund_crumbs, False
    left = one.amount + carried
    for payment in by_settled(draft.order, draft.terms.refund_order == "card_first"):
        for index, settlement in enumerate(payment.settlements) if left else ():
            reference = min(left, settlement.refundable_reference)
            if reference <= 0:
                continue
            value = proportional(settlement.refundable, reference, settlement.refundable_reference)
            if value == 0 and settlement.refundable > 0:
                too_small = True
                continue
            payment.settlements[index] = replace(
                settlement, reference_taken=settlement.reference_taken + reference,
                refunding=settlement.refunding + value,
            )  # fmt: skip
            left -= reference
            if value:
                _issue(draft, payment, value, reference, one.cause, rule, settlement.settle_id)
    payments = draft.order.payments
    draft.order.refund_crumbs = min(carried, left)
    left -= draft.order.refund_crumbs
    if any(payment.settling for payment in payments):
        return left
    if too_small:
        draft.order.refund_crumbs += left
        return 0
    # What was too small to be asked for counts as taken although nothing was: it cannot be given back either (R26).
    never_taken = sum(one.settled_reference - sum(part.reference for part in one.settlements) for one in payments)
    return 0 if left <= never_taken else left


def _issue(
    draft: Draft, payment: Payment, value: int, reference: int, cause: Cause, rule: str, settle_id: str,
    retry_of: str | None = None,
) -> None:  # fmt: skip
    command = draft.issue(payment, "refund", value, reference, cause, rule, settle_id=settle_id, retry_of=retry_of)
    draft.move(payment, "settled", "refunding", value, rule, command.command_id)
    payment.refunding += value


def refund_surplus(draft: Draft, settle_id: str) -> None:
    """Refunds what was taken beyond the order's value at once; on a canceled order everything (R27)."""
    order, cause = draft.order, ("surplus", settle_id)
    if order.phase == "canceled":
        give_back_all(draft, cause, "R27")
    else:
        demand(draft, order.taken - order.value, cause, "R27")


def give_back_all(draft: Draft, cause: Cause, rule: str) -> None:
    """Refunds everything that a canceled order captured, even what is too small to count for the order (R22, R27)."""
    demand(draft, draft.order.taken, cause, rule)
    for payment in draft.order.payments:
        for index, settlement in enumerate(payment.settlements):
            if (value := settlement.refundable) > 0:
                reference = settlement.refundable_reference
                payment.settlements[index] = replace(
                    settlement, refunding=settlement.refunding + value, reference_taken=settlement.reference
                )
                _issue(draft, payment, value, reference, cause, rule, settlement.settle_id)


def value_to_retry(settlement: Settlement, command: Command) -> int:
    """How much a retry may refund: at most what its settlement keeps for it."""
    return min(command.value - command.done, settlement.kept_for_retry)


def retry_refund(draft: Draft, command: Command) -> int:
    """Issues a new refund for what was declined or came short, from the amount kept for it."""
    payment = draft.payment(command.payment_id)
    index, settlement = draft.settlement(payment, command.settle_id)
    value = value_to_retry(settlement, command)
    if value <= 0 or not command.missing:
        return 0
    payment.settlements[index] = replace(
        settlement, kept_for_retry=settlement.kept_for_retry - value, refunding=settlement.refunding + value
    )
    reference = command.reference - command.done_reference
    draft.update(command, missing=0)
    _issue(
        draft, payment, value, reference, command.cause, "R39",
        settlement.settle_id, command.command_id,
    )  # fmt: skip
    return value


def refund_succeeded(draft: Draft, command: Command, done: int, operation_id: str | None, rule: str) -> None:
    """Books a refund; what came short is kept for a retry."""
    payment, asked = draft.payment(command.payment_id), command.value
    index, settlement = draft.settlement(payment, command.settle_id)
    above = max(0, done - asked)
    beyond_kept = max(0, above - settlement.kept_for_retry)
    more = proportional(settlement.refundable_reference, beyond_kept, settlement.refundable) if beyond_kept else 0
    payment.settlements[index] = replace(
        settlement, refunding=settlement.refunding - asked, refunded=settlement.refunded + done,
        kept_for_retry=settlement.kept_for_retry + max(0, asked - done) - (above - beyond_kept),
        reference_taken=settlement.reference_taken + more,
    )  # fmt: skip
    payment.refunding -= asked
    payment.refunded += done
    draft.move(payment, "refunding", "refunded", min(done, asked), rule, command.command_id)
    draft.move(payment, "refunding", "settled", max(0, asked - done), rule, command.command_id)
    draft.move(payment, "settled", "refunded", above, rule, command.command_id)
    counted = command.reference if done >= asked else half_even(command.reference * done, asked)
    draft.update(
        command, state="succeeded", done=done, done_reference=counted, operation_id=operation_id,
        missing=max(1, command.reference - counted) if done < asked else 0,
    )  # fmt: skip
    short = max(0, asked - done)
    draft.tell(
        "refund.confirmed", rule,
        f"Refunded {draft.amount(done)} on payment {payment.payment_id}"
        + (f", {draft.amount(short)} less than asked" if short else "") + f" ({rule})",
        {"value": done, "short": short, "paymentId": payment.payment_id, "commandId": command.command_id,
         "settleId": command.settle_id},
    )  # fmt: skip


def refund_failed(draft: Draft, command: Command, rule: str, code: str | None) -> None:
    """Keeps the amount for a retry: nothing else may take it (R21)."""
    payment = draft.payment(command.payment_id)
    index, settlement = draft.settlement(payment, command.settle_id)
    payment.settlements[index] = replace(
        settlement, refunding=settlement.refunding - command.value,
        kept_for_retry=settlement.kept_for_retry + command.value,
    )  # fmt: skip
    payment.refunding -= command.value
    draft.move(payment, "refunding", "settled", command.value, rule, command.command_id)
    draft.update(command, state="declined", missing=max(1, command.reference))
    draft.tell_failed("refund.failed", "refund", command, rule, code)


def drop_returns_above(draft: Draft, limit: int) -> None:
    """Drops waiting returns above what can still be returned, newest first (R39)."""
    order = draft.order
    excess = max(0, order.returned - order.dropped - limit)
    for one, part in cut_demands(order, excess, lambda one: one.cause_kind == "invoice"):
        order.dropped += part
        draft.tell(
            "refund.failed", "R39",
            f"The waiting refund of {draft.amount(part)} is dropped: what it would return was given up (R39)",
            {"value": part}, one.cause,
        )  # fmt: skip


def cut_demands(order: Order, amount: int, of: Callable[[Demand], bool]) -> list[tuple[Demand, int]]:
    """Reduces waiting refunds by up to an amount, newest first; returns how much of which."""
    kept, cut, left = [], [], amount
    for one in reversed(order.demands):
        part = min(left, one.amount) if of(one) else 0
        left -= part
        if part:
            cut.append((one, part))
        if rest := one.amount - part:
            kept.append(replace(one, amount=rest))
    order.demands = kept[::-1]
    return cut
