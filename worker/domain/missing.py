"""What failed and short settles are missing: how much of each a person may still retry or give up (R27, R39).

What a settle failed to take is kept twice, because it answers two questions (docs/decisions.md, 5): `order.lacks` says
how much each invoice lacks, `command.missing` how much a person may decide about. In PARTIAL a settle is for
accepted invoices, and is missing the sum of the lacks that name it. In TOTAL and HOLD it is for the whole order: it may
be missing what no invoice lacks yet, and `order.given_up` counts what people gave up of V − K. What is listed as failed
is never more than settles are missing, what is listed as abandoned never more than was given up.

An example: a TOTAL order of 10000, whose settle is declined.

    | what happens         | order.lacks                          | command.missing | order.given_up |
    |----------------------|--------------------------------------|-----------------|----------------|
    | Out 2000             | 1: 2000 failed                       | 10000           | 0              |
    | Out 3000             | 1: 2000 failed, 2: 3000 failed       | 10000           | 0              |
    | auto 4000            | 2: 1000 failed                       | 6000            | 0              |
    | abandon settle 10000 | 2: 1000 abandoned                    | 0               | 6000           |
    | Out 5000             | 2: 1000 abandoned, 3: 5000 abandoned | 0               | 6000           |
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from worker.domain import lacking
from worker.domain.allocation import untouched_room
from worker.domain.draft import Draft
from worker.domain.order import Command, Covers, Lack, LackKind, Order


def settles(order: Order) -> list[Command]:
    """Settles that are missing something, oldest first."""
    return [command for command in order.commands.values() if command.missing and command.operation == "settle"]


def total(order: Order) -> int:
    """How much only a person may ask for again."""
    return sum(command.missing for command in settles(order))


def without_invoice(order: Order) -> int:
    """TOTAL, HOLD: how much settles are missing that no invoice lacks yet."""
    return max(0, total(order) - lacking.total(order, *lacking.FAILED))


def name_held(order: Order) -> list[tuple[str, int, int]]:
    """Replaces each held lack by lacks that say why no payment has room for it.

    Returns the invoices for which an authorization expired, each with the expired amount and how much of another
    authorization it needs.
    """
    held = [lack for lack in order.lacks if lack.kind == "held"]
    if not held:
        return []
    order.lacks = [lack for lack in order.lacks if lack.kind != "held"]
    expired: list[tuple[str, int, int]] = []
    for lack in held:
        left = lack.amount
        for kind, command_id, most in _reasons(order):
            part = max(0, min(left, most))
            lacking.add(order, Lack(lack.invoice, kind, part, command_id))
            if kind == "lapsed" and part:
                expired.append((lack.invoice, part, left))
            left -= part
    return expired


def _reasons(order: Order) -> Iterator[tuple[LackKind, str, int]]:
    """Why no payment has room: the kind of lack, the settle that failed, and for how much that explains no lack yet."""
    if order.mode != "PARTIAL":
        for command in settles(order):
            listed = sum(lack.amount for lack in order.lacks if lack.command_id == command.command_id)
            yield _kind(command), command.command_id, min(command.missing - listed, without_invoice(order))
        yield "abandoned", "", order.given_up - lacking.total(order, "abandoned")
    expired = sum(untouched_room(payment) for payment in order.payments if payment.lapsed)
    yield "lapsed", "", expired - lacking.total(order, "lapsed")
    yield "waiting", "", lacking.unlisted(order)


def _kind(command: Command) -> LackKind:
    return "short" if command.done else "failed"


def list_loss(draft: Draft, command: Command) -> None:
    """Lists what invoices lack because a settle failed or came short."""
    order, lost = draft.order, lacking.unlisted(draft.order)
    sales = lacking.newest_first(order)
    if order.mode == "PARTIAL":
        sales = chain(((order.invoices[number], part) for number, part in reversed(command.covers)), sales)
    # Money that was taken for no particular invoice counts for the oldest ones, so the newest lack the rest.
    lacking.list_rest(order, sales, _kind(command), command.command_id)
    if order.mode == "PARTIAL":
        draft.update(command, missing=lost)
    else:
        cover(draft)


def cover(draft: Draft, captured: int = 0, payment_id: str = "") -> list[Lack]:
    """Removes lacks that money covers now, oldest first, and reduces what settles are missing (R27).

    Returns the lacks that it removed and, in TOTAL and HOLD, how much less has failed or is given up: lacks without an
    invoice. What the gateway `captured` on a payment reduces that payment's own failed settle first: otherwise a lack
    that waits for an authorization would become a failed one, on a payment without room for a retry (R16).
    """
    order, failed, given_up = draft.order, settles(draft.order), draft.order.given_up
    own = [command for command in failed if command.payment_id == payment_id]
    covered = lacking.remove(order.lacks, -lacking.unlisted(order), _own_first(order, own) if own else None)
    if order.mode == "PARTIAL":
        listed = lacking.summed((lack.command_id, lack.amount) for lack in order.lacks)
        for command in failed:
            if listed[command.command_id] != command.missing:
                draft.update(command, missing=listed[command.command_id])
    else:
        if captured:  # a settle in flight may still fail, and takes nothing of what people gave up (R35)
            order.given_up -= sum(lack.amount for lack in covered if lack.kind == "abandoned")
        _miss_less(draft, own, min(captured, without_invoice(order)))
        _miss_no_more_than_is_left(draft)
        covered.append(Lack("", "abandoned", given_up - order.given_up))
        for command in failed:
            less = command.missing - order.commands[command.command_id].missing
            covered.append(Lack("", _kind(command), less, command.command_id))
    return covered


def _own_first(order: Order, failed: Sequence[Command]) -> Iterator[Lack]:
    """The lacks, oldest invoice first; of each invoice those first that name one of these settles."""
    ids = {command.command_id for command in failed}
    for lacks in lacking.per_invoice(order.lacks).values():
        yield from sorted(lacks, key=lambda lack: lack.command_id not in ids)


def _miss_less(draft: Draft, failed: Iterable[Command], amount: int) -> None:
    """Reduces what these settles are missing, one after another."""
    for command in failed:
        if part := min(amount, command.missing):
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
    fewer = min(excess, without_invoice(order))
    order.given_up -= excess - fewer
    _miss_less(draft, settles(order), fewer)


def uncover(draft: Draft, covered: Sequence[Lack]) -> None:
    """Lists again, newest first, what a capture had covered that was our own settle, and settles are missing it again.

    What else is lacking now was never asked for: it is listed on the newest invoices that no command covers.
    """
    order = draft.order
    again = lacking.remove([lack for lack in reversed(covered) if lack.invoice], lacking.unlisted(order))
    lacking.add(order, *again)
    if order.mode != "PARTIAL":
        again = [lack for lack in covered if not lack.invoice]
        order.given_up += sum(lack.amount for lack in again if lack.kind == "abandoned")
    for lack in again:
        if (command := order.commands.get(lack.command_id)) is not None:
            draft.update(command, missing=command.missing + lack.amount)
    done = lacking.summed((lack.invoice, lack.amount) for lack in order.lacks) + _asked_or_done(order)
    unasked = ((invoice, due - done[invoice.number]) for invoice, due in lacking.newest_first(order))
    lacking.list_rest(order, unasked, "held")


def _asked_or_done(order: Order) -> Counter[str]:
    """PARTIAL: how much of each invoice commands have captured or may still capture; the pool need not cover that."""
    found: Counter[str] = Counter()
    for command in order.commands.values() if order.mode == "PARTIAL" else ():
        left = command.reference if command.in_flight else command.done_reference
        for number, covered in command.covers:
            part = min(left, covered)
            found[number] += part
            left -= part
    return found


def ask_again(draft: Draft, command: Command, amount: int) -> Covers:
    """Removes what a retry of this settle asks for; returns for which invoices that is."""
    draft.update(command, missing=command.missing - amount)
    asked = lacking.remove(draft.order.lacks, amount, _failed_lacks(draft.order, command))
    return tuple((lack.invoice, lack.amount) for lack in asked)


def count_as_taken(draft: Draft, command: Command) -> None:
    """Counts as taken what this settle is missing, although nothing was (R26)."""
    order = draft.order
    draft.payment(command.payment_id).settled_reference += command.missing
    mine = [lack for lack in order.lacks if lack.command_id == command.command_id]
    lacking.remove(order.lacks, command.missing, mine)
    draft.update(command, missing=0)
    cover(draft)  # TOTAL, HOLD: what it misses may be listed for another settle


def give_up(draft: Draft, command: Command) -> int:
    """Gives up what this command is missing; returns how much of that no invoice lacks yet."""
    order = draft.order
    draft.update(command, missing=0, abandoned=True)
    if command.operation != "settle":
        return 0
    if order.mode != "PARTIAL":
        order.given_up += command.missing
    excess = lacking.total(order, *lacking.FAILED) - total(order)
    marked = lacking.remove(order.lacks, excess, _failed_lacks(order, command), leaving="abandoned")
    return command.missing - sum(lack.amount for lack in marked)


def _failed_lacks(order: Order, command: Command) -> list[Lack]:
    """What invoices lack because of this settle, then what they lack because of others.

    In TOTAL and HOLD a capture may have covered this settle's lacks but reduced what another settle is missing; then
    those of others stand in.
    """
    failed = [lack for lack in order.lacks if lack.kind in lacking.FAILED]
    return sorted(failed, key=lambda lack: lack.command_id != command.command_id)


def give_up_lapsed(order: Order, lapsed: Iterable[Lack]) -> int:
    """Gives up what invoices lack because an authorization expired; returns how much that is."""
    amount = sum(lack.amount for lack in lacking.remove(order.lacks, order.lacking, lapsed, leaving="abandoned"))
    if order.mode != "PARTIAL":
        order.given_up += amount
    return amount
