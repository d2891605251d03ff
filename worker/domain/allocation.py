"""How much each payment gives: arithmetic over payments, without side effects (R3, R21, R25, R26)."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from worker.domain.money import divided, half_even, proportional
from worker.domain.order import Order, Payment, Split


class Part(NamedTuple):
    payment: Payment
    reference: int
    value: int


class Allocation(NamedTuple):
    parts: list[Part]
    left: int  # reference value that no payment has room for
    crumbs: int  # all of `left` where that is too small to be a minor unit, and joins the next command; else 0


def by_amount(order: Order) -> list[Payment]:
    """Lowest authorized amount first, ties in payment order, later payments last (R25)."""
    if len(order.payments) == 1:
        return order.payments
    return sorted(order.payments, key=lambda payment: (payment.later, payment.authorized))


def by_settled(order: Order, card_first: bool) -> list[Payment]:
    """Lowest settled amount first, ties in payment order (R21)."""
    if len(order.payments) == 1:
        return order.payments

    def rank(payment: Payment) -> tuple[bool, int]:
        return card_first and payment.group not in ("creditCard", "debitCard"), payment.settled

    return sorted(order.payments, key=rank)


def may_settle(payment: Payment) -> bool:
    """A payment that settles once is not asked again, whatever came of it."""
    return not payment.lapsed and not (payment.settles_once and payment.asked)


def _headroom(payment: Payment) -> int:
    """What settles can take above the authorized amount, lapsed or not; it was promised to no recipient (R3)."""
    return 0 if payment.shares else payment.untouched_headroom


def _headroom_reference(payment: Payment) -> int:
    return _headroom(payment) * payment.reference // payment.authorized


def has_room(payment: Payment) -> bool:
    """Whether a settle can take anything of the payment, even what counts nothing for the order."""
    return not payment.lapsed and (payment.untouched > 0 or _headroom(payment) > 0)


def room_reference(payment: Payment) -> int:
    """What a settle can take from the payment."""
    return 0 if payment.lapsed else untouched_room(payment)


def untouched_room(payment: Payment) -> int:
    """What a settle could take from the payment, lapsed or not."""
    if payment.settles_once and payment.asked:
        return 0
    return payment.untouched_reference + _headroom_reference(payment)


def total_room(order: Order) -> int:
    return sum(room_reference(payment) for payment in order.payments)


def allocate_settle(payments: Sequence[Payment], amount: int) -> Allocation:
    """First every payment's open part, then the room above, in the same order. The payments may be asked."""
    taken: dict[str, Part] = {}
    left, crumbs = amount, 0
    for payment in payments:
        reference = min(left, payment.open_reference)
        if reference == 0:
            continue
        value = proportional(payment.open, reference, payment.open_reference)
        if value == 0 and payment.open > 0:
            crumbs = reference  # which is all that is left
            continue
        taken[payment.payment_id] = Part(payment, reference, value)
        left -= reference
    for payment in payments if left else ():
        reference = min(left, _headroom_reference(payment))
        value = reference * payment.authorized // payment.reference
        if value == 0:
            crumbs += reference
            continue
        below = taken.get(payment.payment_id, Part(payment, 0, 0))
        taken[payment.payment_id] = Part(payment, below.reference + reference, below.value + value)
        left -= reference
    return Allocation(list(taken.values()), left, left if left <= crumbs else 0)


def allocate_void(payments: Iterable[Payment], amount: int) -> list[Part]:
    """Open parts only; what is too small to be a minor unit stays open."""
    parts, left = [], amount
    for payment in payments:
        reference = min(left, payment.open_reference)
        if reference == 0:
            continue
        value = proportional(payment.open, reference, payment.open_reference)
        if value > 0:
            parts.append(Part(payment, reference, value))
            left -= reference
    return parts


def automatic_reference(payment: Payment, value: int) -> int:
    """An automatic settlement in reference value: the open (or lapsed) part at its rate, the rest at the payment's."""
    below = min(value, payment.untouched)
    counted = proportional(payment.untouched_reference, below, payment.untouched) if below else 0
    return counted + (value - below) * payment.reference // payment.authorized


def split(payment: Payment, value: int) -> Split:
    """The recipients' shares of a settle or void, each with its commission (R3)."""
    if not payment.shares:
        return ()
    rests = [max(0, share.rest) for share in payment.shares]  # below 0 once more was taken than promised
    promised = sum(rests)
    if value <= promised:
        amounts = divided(value, rests)
    else:
        above = divided(value - promised, [share.recipient.amount for share in payment.shares])
        amounts = [rest + more for rest, more in zip(rests, above, strict=True)]
    return tuple(
        (amount, proportional(share.commission_rest, amount, share.rest) if share.rest > 0 else 0)
        for share, amount in zip(payment.shares, amounts, strict=True)
    )


def together(some: Split, more: Split) -> Split:
    """The sum of two splits among the same recipients."""
    if not some:
        return more
    return tuple((one[0] + two[0], one[1] + two[1]) for one, two in zip(some, more, strict=True))


def split_done(shares: Split, done: int) -> Split:
    """The shares of what was done, divided in the proportions of what was asked."""
    asked = [amount for amount, _ in shares]
    return tuple(
        (part, half_even(commission * part, amount) if amount else 0)
        for part, (amount, commission) in zip(divided(done, asked), shares, strict=True)
    )
