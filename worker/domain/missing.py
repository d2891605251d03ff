"""How much failed and short settles are missing: not asked again, not covered by other money, not given up (R27, R39).

What a settle failed to take is kept twice, because it answers two questions (docs/decisions.md, 5):
- `order.lacks` (`lacking.py`): how much does each accepted invoice lack, and why? Its sum is always max(0, O − K).
- `command.missing` (here): how much of a settle may a person ask again or give up? In PARTIAL it is the sum of the
  lacks that name the settle; in TOTAL and HOLD one settle stands for the whole order, invoiced or not.
Whatever changes one of them adjusts the other in the same decision: `cover`, `uncover`, `give_up`, and a retry.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from worker.domain import lacking
from worker.domain.draft import Draft
from worker.domain.order import Command, Lack, Order


def settles(order: Order) -> list[Command]:
    """Settles that are missing something, oldest first."""
    return [one for one in order.commands.values() if one.operation == "settle" and one.missing]


def total(order: Order) -> int:
    """TOTAL, HOLD: how much only a person may ask for again."""
    return sum(command.missing for command in settles(order))


def unlisted(order: Order) -> int:
    """How much settles are missing that is not listed as failed: not invoiced yet, or given up with another settle."""
    return max(0, total(order) - lacking.total(order, *lacking.FAILED))


def given_up(order: Order) -> int:
    """TOTAL, HOLD: how much people gave up of V − K; at least what is listed as abandoned."""
    return max(order.given_up, lacking.total(order, "abandoned"))


def abandoned_unlisted(order: Order) -> int:
    """How much was given up that is not invoiced yet."""
    return max(0, order.given_up - lacking.total(order, "abandoned"))


def cover(draft: Draft, captured: int = 0, payment_id: str = "") -> list[Lack]:
    """Removes lacks that money covers now, oldest first, and reduces what settles are missing (R27).

    Returns the lacks that it removed. What the gateway `captured` on a payment reduces that payment's own failed
    settle first: otherwise a lack that waits for an authorization would become a failed one, on a payment without
    room for a retry (R16).
    """
    order = draft.order
    unlisted_before = abandoned_unlisted(order)
    own = [one.command_id for one in settles(order) if one.payment_id == payment_id] if payment_id else []
    covered = lacking.remove_captured(draft, max(0, -lacking.unlisted(order)), own)
    if order.mode == "PARTIAL":
        _miss_no_more_than_lacks(draft)
    else:
        if captured:  # a settle in flight may still fail, and takes nothing of what people gave up (R35)
            order.given_up = unlisted_before + lacking.total(order, "abandoned")
        _miss_less(draft, min(captured, unlisted(order)), payment_id)
        _miss_no_more_than_is_left(draft)
    return covered


def uncover(draft: Draft, covered: Sequence[Lack]) -> None:
    """Lists lacks again, newest first, up to what is lacking: the capture that covered them was our own settle."""
    order = draft.order
    _, again = lacking.split_off(reversed(covered), lacking.unlisted(order))
    for lack in again:
        if (command := order.commands.get(lack.command_id)) is not None:
            draft.update(command, missing=command.missing + lack.amount)
    lacking.add_all(order, again)


def _miss_less(draft: Draft, amount: int, payment_id: str = "") -> None:
    """Reduces what failed settles (of one payment, or of any) are missing, oldest first."""
    for command in settles(draft.order):
        part = min(amount, command.missing) if payment_id in ("", command.payment_id) else 0
        if part:
            draft.update(command, missing=command.missing - part)
        amount -= part


def _miss_no_more_than_is_left(draft: Draft) -> None:
    """TOTAL, HOLD: reduces what failed and what was given up to V − K, less what waits for another payment.

    What is not invoiced yet goes first: what invoices lack must stay with a command that a person can ask again or
    give up (R39).
    """
    order = draft.order
    left = max(0, order.value - order.taken - lacking.total(order, *lacking.UNFOUND))
    excess = max(0, total(order) + order.given_up - left)
    fewer = min(excess, unlisted(order))
    order.given_up -= excess - fewer
    _miss_less(draft, fewer)


def _miss_no_more_than_lacks(draft: Draft) -> None:
    """PARTIAL: sets what each settle is missing to the sum of the lacks that name it."""
    known = lacking.summed((lack.command_id, lack.amount) for lack in draft.order.lacks)
    for command in settles(draft.order):
        if known[command.command_id] != command.missing:
            draft.update(command, missing=known[command.command_id])


def give_up(draft: Draft, command_id: str) -> None:
    """Marks as abandoned what invoices lack because of this command, its own lacks first (R39).

    In TOTAL and HOLD, captured money may have removed this command's lacks but reduced what another one is missing:
    then the rest is marked among the lacks of other failed commands.
    """
    order = draft.order
    mine = [lack for lack in order.lacks if lack.command_id == command_id]
    own = sum(lack.amount for lack in mine)
    left = own if order.mode == "PARTIAL" else lacking.total(order, *lacking.FAILED) - total(order)
    others = [lack for lack in order.lacks if lack.kind in lacking.FAILED and lack.command_id != command_id]
    for lack in [*mine, *others]:
        part = min(left, lack.amount)
        if part > 0:
            place = order.lacks.index(lack)
            rest = [replace(lack, amount=lack.amount - part)] if part < lack.amount else []
            order.lacks[place : place + 1] = [Lack(lack.invoice, "abandoned", part), *rest]
            left -= part
