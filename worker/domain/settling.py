"""Settles: asking payments for money, and booking the result (R4, R16, R25, R26, R28, R32, R35)."""

from collections.abc import Sequence

from worker.domain import lacking, missing
from worker.domain.allocation import Part, allocate_settle, by_amount, may_settle, split, split_done, total_room
from worker.domain.draft import Draft, where_any, with_shares
from worker.domain.money import half_even
from worker.domain.order import Cause, Command, Covers, Lack, LackKind, Order, Payment, Settlement
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
            _ask_once(draft, order.value - order.taken - missing.total(order) - missing.given_up(order))
    else:
        return  # HOLD: nothing is asked until the order is invoiced
    _name_the_rest(draft)


def _ask_per_invoice(draft: Draft) -> None:
    """PARTIAL: asks for exactly what each invoice lacks, oldest first. What is too small to be asked joins the next."""
    order = draft.order
    partial = [payment for payment in by_amount(order) if not payment.settles_once and not payment.lapsed]
    rounding = [lack for lack in order.lacks if lack.kind == "rounding"]
    lacks = [lack for lack in order.lacks if lack.kind != "rounding"]
    order.lacks = []
    for invoice, mine in lacking.per_invoice(lacks).items():
        unasked = [lack for lack in mine if lacking.is_unasked(lack)]
        if not unasked or not any(payment.open_reference or payment.headroom for payment in partial):
            order.lacks += mine
            continue
        own, carried = sum(lack.amount for lack in unasked), sum(lack.amount for lack in rounding)
        rule = "R4" if unasked[0].kind == "held" else "R16"
        left, crumbs = _take(draft, partial, own + carried, ("invoice", invoice), rule)
        if not left:
            rounding = []
            order.lacks += [lack for lack in mine if not lacking.is_unasked(lack)]
            continue
        found = own + carried - left
        rest = own - max(0, found - carried)
        rounding, _ = lacking.split_off(rounding, found)
        order.lacks += lacking.split_off(mine, own if crumbs else own - rest, lacking.is_unasked)[0]
        if crumbs:
            rounding.append(Lack(invoice, "rounding", rest))
    lacking.add_all(order, rounding)


def _ask_once(draft: Draft, amount: int) -> None:
    """One settle per payment that settles once, for everything that is still to be taken (cause `total`)."""
    order = draft.order
    once = [payment for payment in by_amount(order) if payment.settles_once and may_settle(payment)]
    if amount <= 0 or not once:
        return
    left, crumbs = _take(draft, once, amount, ("total", order.order_id), "R4" if order.mode == "TOTAL" else "R5")
    lacking.remove(draft, amount - left, lacking.is_unasked)
    missing.cover(draft)
    for lack in lacking.remove(draft, crumbs, lacking.is_unasked):
        lacking.add(draft, lack.invoice, "rounding", lack.amount)


def _take(draft: Draft, payments: Sequence[Payment], amount: int, cause: Cause, rule: str) -> tuple[int, int]:
    """Issues settles for an amount, as far as there is room. Returns what is left, and how much of it is too small."""
    allocation = allocate_settle(payments, amount)
    unasked = [lack for lack in draft.order.lacks if lacking.is_unasked(lack)]
    for payment, reference, value in allocation.parts:
        covers: Covers = ((cause[1], reference),)
        if cause[0] == "total":  # one settle stands for several invoices, the oldest first
            unasked, found = lacking.split_off(unasked, reference)
            covers = tuple((lack.invoice, lack.amount) for lack in found)
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


def _name_the_rest(draft: Draft) -> None:
    """Gives what found no room its reason: a settle failed, it was given up, it lapsed, or it waits for a payment."""
    order = draft.order
    unnamed = [lack for lack in order.lacks if lack.kind == "held"]
    if not unnamed:
        return
    order.lacks = [lack for lack in order.lacks if lack.kind != "held"]
    failed = missing.settles(order) if order.mode != "PARTIAL" else ()
    for lack in unnamed:
        left = lack.amount
        for command in failed:
            known = sum(other.amount for other in order.lacks if other.command_id == command.command_id)
            part = min(left, max(0, command.missing - known), missing.unlisted(order))
            lacking.add(draft, lack.invoice, "short" if command.done else "failed", part, command.command_id)
            left -= part
        part = min(left, missing.abandoned_unlisted(order))
        lacking.add(draft, lack.invoice, "abandoned", part)
        left -= part
        part = min(left, lacking.lapsed_unlisted(order))
        lacking.add(draft, lack.invoice, "lapsed", part)
        lacking.add(draft, lack.invoice, "waiting", left - part)
        if part:
            _tell_lapsed(draft, lack.invoice, part, left)


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
    """Counts as taken what is too small to be asked for, once no further command can take it along (R26)."""
    order = draft.order
    crumbs = lacking.total(order, "rounding")
    if crumbs and (order.phase != "open" or not any(payment.open or payment.headroom for payment in order.payments)):
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
    struck = lacking.remove_failed(draft, part.reference, command.command_id)
    draft.update(command, missing=command.missing - part.reference)
    _issue(
        draft, payment, part.value, part.reference, command.cause, "R39",
        struck, command.command_id,
    )  # fmt: skip
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
        _note_loss(draft, command, "short")
    else:
        missing.cover(draft)


def settle_failed(draft: Draft, command: Command, rule: str, code: str | None) -> None:
    """Releases the reservation; nothing asks another payment, or this one again, by itself (R35)."""
    payment = draft.payment(command.payment_id)
    payment.settling -= command.value
    payment.settling_reference -= command.reference
    draft.release(payment, "settling", command.value, rule, command.command_id)
    with_shares(payment, command.shares, +1)
    command = draft.update(command, state="declined", missing=command.reference)
    draft.tell_failed("settlement.failed", "settle", command, rule, code)
    _note_loss(draft, command, "failed")


def _note_loss(draft: Draft, command: Command, kind: LackKind) -> None:
    """Books what a settle did not take: refunds that waited for it fall away (R15), and its invoices lack it."""
    order = draft.order
    fallen = cut_demands(order, command.missing, lambda one: one.cause_kind != "invoice")
    order.given_back -= sum(part for _, part in fallen)
    lost = lacking.list_loss(draft, command, kind)
    if order.mode == "PARTIAL":
        draft.update(command, missing=lost)
    else:
        missing.cover(draft)
