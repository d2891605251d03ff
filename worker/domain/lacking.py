"""What accepted invoices lack: an amount and a reason per invoice; the sum is always max(0, O − K).

`missing.py` explains why settles also keep what they are missing.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator

from msgspec.structs import replace

from worker.domain.allocation import untouched_room
from worker.domain.draft import Draft
from worker.domain.order import Command, Covers, Invoice, Lack, LackKind, Order

UNASKED: tuple[LackKind, ...] = ("held", "waiting", "lapsed")
UNFOUND: tuple[LackKind, ...] = ("waiting", "lapsed")
LOST: tuple[LackKind, ...] = ("failed", "short", "abandoned")
FAILED: tuple[LackKind, ...] = ("failed", "short")


def total(order: Order, *kinds: LackKind) -> int:
    """How much the accepted invoices lack for these reasons."""
    return sum(lack.amount for lack in order.lacks if lack.kind in kinds) if order.lacks else 0


def lost(order: Order) -> int:
    """How much accepted invoices lack for good: it cannot be returned (R18)."""
    return total(order, *LOST)


def unlisted(order: Order) -> int:
    """How much accepted invoices lack that `order.lacks` does not list yet; below 0: how much it lists too much."""
    if not order.lacks:
        return order.lacking
    return order.lacking - sum(lack.amount for lack in order.lacks)


def _known(order: Order) -> Counter[str]:
    """How much `order.lacks` lists per invoice."""
    return summed((lack.invoice, lack.amount) for lack in order.lacks)


def summed(amounts: Iterable[tuple[str, int]]) -> Counter[str]:
    """The sum of the amounts of each name."""
    found: Counter[str] = Counter()
    for name, amount in amounts:
        found[name] += amount
    return found


def lapsed_unlisted(order: Order) -> int:
    """How much room lapsed with its authorization, beyond what is already listed as lapsed."""
    gone = sum(untouched_room(payment) for payment in order.payments if payment.lapsed)
    return max(0, gone - total(order, "lapsed"))


def add(draft: Draft, invoice: str, kind: LackKind, amount: int, command_id: str = "") -> None:
    """Lists a lack of one invoice; an amount of 0 is not listed."""
    if amount > 0:
        add_all(draft.order, [Lack(invoice, kind, amount, command_id)])


def add_all(order: Order, lacks: list[Lack]) -> None:
    """Lists several lacks; the list stays in the order of the invoices."""
    order.lacks += lacks
    if lacks and len(order.lacks) > 1:
        places = {number: place for place, number in enumerate(order.invoices)}
        order.lacks.sort(key=lambda lack: places[lack.invoice])


def list_loss(draft: Draft, command: Command, kind: LackKind) -> int:
    """Lists what invoices lack because a settle failed or came short; returns how much that is."""
    order = draft.order
    amount = left = unlisted(order)
    if order.mode == "PARTIAL":
        asked = [(order.invoices[number], covered) for number, covered in reversed(command.covers)]
        left -= _list_on(draft, asked, left, kind, command.command_id)
    # Money that was taken for no particular invoice counts for the oldest ones, so the newest lack the rest.
    _list_on(draft, _newest_first(order), left, kind, command.command_id)
    return amount


def _newest_first(order: Order) -> Iterator[tuple[Invoice, int]]:
    return ((invoice, invoice.due) for invoice in reversed(order.invoices.values()))


def _list_on(
    draft: Draft, invoices: Iterable[tuple[Invoice, int]], amount: int, kind: LackKind, command_id: str = ""
) -> int:
    """Lists an amount on these sales, on each up to the given limit and its own value; returns how much was listed."""
    order, left = draft.order, amount
    known = _known(order)
    found: list[Lack] = []
    for invoice, most in invoices:
        part = min(left, most, invoice.due - known[invoice.number]) if invoice.output else 0
        if part > 0:
            known[invoice.number] += part
            found.append(Lack(invoice.number, kind, part, command_id))
            left -= part
    add_all(order, found)
    return amount - left


def remove(draft: Draft, amount: int, of: Callable[[Lack], bool] = lambda _: True) -> list[Lack]:
    """Removes up to an amount from the list, oldest invoice first; returns what was removed."""
    draft.order.lacks, gone = split_off(draft.order.lacks, amount, of)
    return gone


def split_off(
    lacks: Iterable[Lack], amount: int, of: Callable[[Lack], bool] = lambda _: True
) -> tuple[list[Lack], list[Lack]]:
    """Splits lacks: what stays after up to an amount is removed, and what was removed."""
    kept: list[Lack] = []
    gone: list[Lack] = []
    left = amount
    for lack in lacks:
        part = min(left, lack.amount) if of(lack) else 0
        left -= part
        if part:
            gone.append(replace(lack, amount=part))
        if part < lack.amount:
            kept.append(replace(lack, amount=lack.amount - part) if part else lack)
    return kept, gone


def remove_captured(draft: Draft, amount: int, failed: Collection[str]) -> list[Lack]:
    """Removes up to an amount, oldest invoice first; within an invoice first what these commands failed to take."""
    kept: list[Lack] = []
    gone: list[Lack] = []
    left = amount
    for mine in per_invoice(draft.order.lacks).values():
        own, now = split_off(mine, left, lambda lack: lack.command_id in failed)
        rest, then = split_off(own, left - sum(lack.amount for lack in now))
        kept += rest
        gone += now + then
        left = amount - sum(lack.amount for lack in gone)
    draft.order.lacks = kept
    return gone


def per_invoice(lacks: Iterable[Lack]) -> dict[str, list[Lack]]:
    """The lacks of each invoice, in the order given."""
    found: dict[str, list[Lack]] = {}
    for lack in lacks:
        found.setdefault(lack.invoice, []).append(lack)
    return found


def remove_failed(draft: Draft, amount: int, command_id: str) -> Covers:
    """Removes what a retry asks for, the command's own lacks first; returns how much of which invoice.

    In TOTAL and HOLD, captured money may have removed this command's lacks but reduced what another one is missing:
    then the rest is taken from lacks of other failed commands.
    """
    own = remove(draft, amount, lambda lack: lack.command_id == command_id)
    left = amount - sum(lack.amount for lack in own)
    others = remove(draft, left, lambda lack: lack.kind in FAILED)
    return tuple((lack.invoice, lack.amount) for lack in own + others)


def is_unasked(lack: Lack) -> bool:
    return lack.kind in UNASKED


def list_unasked(draft: Draft) -> None:
    """Lists what is newly lacking as not asked for yet, on the newest invoices that no command covers."""
    order = draft.order
    asked = _known(order) + _asked_or_done(order)
    unasked = ((invoice, most - asked[invoice.number]) for invoice, most in _newest_first(order))
    _list_on(draft, unasked, unlisted(order), "held")


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
