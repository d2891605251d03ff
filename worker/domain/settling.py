"""Settles: asking payments for money, and booking the result (R4, R16, R25, R26, R28, R32, R35)."""

from collections.abc import Sequence

from msgspec.structs import replace

from worker.domain import lacking, missing
from worker.domain.allocation import (
    Part,
    allocate_settle,
    by_amount,
    has_room,
    may_settle,
    room_reference,
    split,
    split_done,
    total_room,
)
from worker.domain.draft import Draft, where_any, with_shares
from worker.domain.money import half_even
from worker.domain.order import Cause, Command, Covers, Lack, Order, Payment, Settlement
from worker.domain.refunding import cut_demands


def ask_for_lacks(draft: Draft) -> None:
    """Asks for what accepted invoices lack and nobody asked for yet, as far as there is room; the rest waits."""
    order = draft.order
    if order.mode == "PARTIAL":
        _ask_per_invoice(draft)
        if order.invoiced >= order.value:
            _ask_once(draft, lacking.total(order, *lacking.UNASKED))
    elif order.mode == "TOTAL" or order.invoiced >= order.value:
        if lacking.total(order, *lacking.UNASKED) > 0:
            _ask_once(draft, order.value - order.taken - missing.total(order) - order.given_up)
    else:
        return  # HOLD: nothing is asked until the order is invoiced
    for invoice, lapsed, needed in missing.name_held(order):
        _tell_lapsed(draft, invoice, lapsed, needed)


def _ask_per_invoice(draft: Draft) -> None:
    """PARTIAL: asks for exactly what each invoice lacks, oldest first."""
    order = draft.order
    partial = [payment for payment in by_amount(order) if not payment.settles_once and not payment.lapsed]
    rounding = [lack for lack in order.lacks if lack.kind == "rounding"]
    lacks = [lack for lack in order.lacks if lack.kind != "rounding"]
    order.lacks = []
    for mine in lacking.per_invoice(lacks).values():
        unasked = lacking.unasked(mine)
        if unasked and any(map(room_reference, partial)):
            lacking.remove(mine, _ask_for_invoice(draft, partial, unasked, rounding), unasked)
        order.lacks += mine
    lacking.add(order, *rounding)


def _ask_for_invoice(draft: Draft, payments: Sequence[Payment], unasked: list[Lack], rounding: list[Lack]) -> int:
    """Asks for what an invoice lacks, and for what was too small to be asked before; returns how much of its own lacks.

    What is too small now joins the next settle: it counts as asked, and is added to `rounding`.
    """
    invoice, own = unasked[0].invoice, sum(lack.amount for lack in unasked)
    carried = sum(lack.amount for lack in rounding)
    rule = "R4" if unasked[0].kind == "held" else "R16"
    left, crumbs = _take(draft, payments, own + carried, ("invoice", invoice), rule)
    lacking.remove(rounding, own + carried - left)
    left = min(left, own)
    if not crumbs:
        return own - left
    rounding.append(Lack(invoice, "rounding", left))
    return own


def _ask_once(draft: Draft, amount: int) -> None:
    """One settle per payment that settles once, for everything that is still to be taken (cause `total`)."""
    order = draft.order
    once = [payment for payment in by_amount(order) if payment.settles_once and may_settle(payment)]
    if amount <= 0 or not once:
        return
    left, crumbs = _take(draft, once, amount, ("total", order.order_id), "R4" if order.mode == "TOTAL" else "R5")
    lacking.remove(order.lacks, amount - left, lacking.unasked(order.lacks))
    missing.cover(draft)
    # What failed or was given up is not too small: it needs a person, or is lost (R35).
    lost = missing.without_invoice(order) + order.given_up - lacking.total(order, "abandoned")
    unasked = lacking.unasked(order.lacks)
    crumbs = min(crumbs, max(0, sum(lack.amount for lack in unasked) - lost))
    too_small = lacking.remove(order.lacks, crumbs, unasked)
    lacking.add(order, *(replace(lack, kind="rounding") for lack in too_small))


def _take(draft: Draft, payments: Sequence[Payment], amount: int, cause: Cause, rule: str) -> tuple[int, int]:
    """Issues settles for an amount, as far as there is room. Returns what is left, and how much of it is too small."""
    allocation = allocate_settle(payments, amount)
    unasked = lacking.unasked(draft.order.lacks) if cause[0] == "total" else []
    for payment, reference, value in allocation.parts:
        covers: Covers = ((cause[1], reference),)
        if cause[0] == "total":  # one settle stands for several invoices, the oldest first
            covers = tuple((lack.invoice, lack.amount) for lack in lacking.remove(unasked, reference))
        if value == 0:  # the payment has no real value left: it counts as taken
            payment.settled_reference += reference
            continue
        _issue(draft, payment, value, reference, cause, rule, covers)
    return allocation.left, allocation.crumbs


def _issue(
    draft: Draft, payment: Payment, value: int, reference: int, cause: Cause, rule: str,
    covers: Covers, retry_of: str | None = None,
) -> None:  # fmt: skip
    shares = split(payment, value)
    command = draft.issue(
        payment, "settle", value, reference, cause, rule, covers=covers, shares=shares, retry_of=retry_of
    )
    draft.reserve(payment, "settling", value, rule, command.command_id)
    payment.settling += value
    payment.settling_reference += reference
    payment.asked = payment.settles_once
    with_shares(payment, shares, -1)


def _tell_lapsed(draft: Draft, invoice: str, lapsed: int, needed: int) -> None:
    cause = ("invoice", invoice)
    draft.tell(
        "settlement.failed", "R28",
        f"Invoice {invoice} lacks {draft.amount(lapsed)}: the authorization has expired (R28)",
        {"lapsed": lapsed, "code": "authorization_expired"}, cause,
    )  # fmt: skip
    _tell_needed(draft, needed, "R28", cause)


def _tell_needed(draft: Draft, amount: int, rule: str, cause: Cause | None = None) -> None:
    draft.tell(
        "authorization.needed", rule,
        f"Another authorization of {draft.amount(amount)} is needed ({rule})", {"needed": amount}, cause,
    )  # fmt: skip


def tell_missing_room(draft: Draft) -> None:
    """Reports by how much the order's value exceeds what was taken and what can still be taken (R16)."""
    order = draft.order
    if (needed := order.value - order.taken - total_room(order)) > 0:
        _tell_needed(draft, needed, "R16")


def absorb_crumbs(draft: Draft) -> None:
    """Counts as taken what is too small to be asked for, once no further command can take it along (R26).

    The next command of what failed would be a person's retry. If that could ask for nothing, there is none.
    """
    order = draft.order
    for command in missing.settles(order):
        if order.missing_value(command) == 0 and not part_to_retry(order, draft.payment(command.payment_id), command):
            missing.count_as_taken(draft, command)
    crumbs = lacking.total(order, "rounding")
    if crumbs and (order.phase != "open" or not any(has_room(payment) for payment in order.payments)):
        order.payments[0].settled_reference += crumbs
        order.lacks = [lack for lack in order.lacks if lack.kind != "rounding"]


def part_to_retry(order: Order, payment: Payment, command: Command) -> Part | None:
    """What a retry may ask for: at most what is lacking and what the payment has room for. None: nothing."""
    if payment.lapsed or order.phase == "canceled":
        return None
    lack = order.lacking if order.mode == "PARTIAL" else order.value - order.taken
    # A person may ask a payment that settles once again.
    allocation = allocate_settle((payment,), min(command.missing, max(0, lack)))
    return next((part for part in allocation.parts if part.value), None)


def retry_settle(draft: Draft, command: Command) -> int:
    """Issues a new settle for what failed or came short."""
    payment = draft.payment(command.payment_id)
    if (part := part_to_retry(draft.order, payment, command)) is None:
        return 0
    covers = missing.ask_again(draft, command, part.reference)
    _issue(draft, payment, part.value, part.reference, command.cause, "R39", covers, command.command_id)
    missing.cover(draft)
    return part.value


def settle_succeeded(draft: Draft, command: Command, done: int, settle_id: str, rule: str, before: int) -> None:
    """Books a capture: a shortfall is reported and listed as lacking, a surplus joins the pool.

    `before`: how much of it an earlier event has told already, as captured by the gateway itself.
    """
    payment, asked = draft.payment(command.payment_id), command.value
    exact = done == asked
    counted = command.reference if exact else half_even(command.reference * done, asked)
    payment.settling -= asked
    payment.settling_reference -= command.reference
    payment.settled += min(done, asked)
    payment.settled_reference += counted
    draft.move(payment, "settling", "settled", min(done, asked), rule, command.command_id)
    if done > asked:
        with_shares(payment, split(payment, done - asked), -1)
        draft.reserve(payment, "settled", done - asked, rule, command.command_id)
        payment.settled += done - asked
    elif done < asked:
        draft.release(payment, "settling", asked - done, rule, command.command_id)
        with_shares(payment, command.shares, +1)
        with_shares(payment, split_done(command.shares, done), -1)
    payment.settlements.append(Settlement(settle_id, done, counted))
    command = draft.update(
        command, state="succeeded", done=done, done_reference=counted, operation_id=settle_id,
        missing=max(0, command.reference - counted),
    )  # fmt: skip
    short = max(0, asked - done)
    draft.tell(
        "settlement.confirmed", rule,
        f"Settled {draft.amount(done)} on payment {payment.payment_id}"
        + (f", {draft.amount(short)} less than asked" if short else "") + f" ({rule})",
        {"value": done, "short": short, "paymentId": payment.payment_id, "commandId": command.command_id,
         "settleId": settle_id, **where_any(before=before)},
    )  # fmt: skip
    if short:
        _note_loss(draft, command)
    else:
        missing.cover(draft, counted - command.reference, payment.payment_id)


def settle_failed(draft: Draft, command: Command, rule: str, code: str | None) -> None:
    """Releases the reservation; nothing asks another payment, or this one again, by itself (R35)."""
    payment = draft.payment(command.payment_id)
    payment.settling -= command.value
    payment.settling_reference -= command.reference
    draft.release(payment, "settling", command.value, rule, command.command_id)
    with_shares(payment, command.shares, +1)
    command = draft.update(command, state="declined", missing=command.reference)
    draft.tell_failed("settlement.failed", "settle", command, rule, code)
    _note_loss(draft, command)


def _note_loss(draft: Draft, command: Command) -> None:
    """Books what a settle did not take: refunds that waited for it fall away (R15), and its invoices lack it."""
    order = draft.order
    fallen = cut_demands(order, command.missing, lambda one: one.cause_kind != "invoice")
    order.given_back -= sum(part for _, part in fallen)
    missing.list_loss(draft, command)
