"""What accepted invoices lack: `order.lacks` lists the amounts, each with its invoice and its reason.

Their sum is always max(0, O − K). The list is in the order of the invoices. `missing.py` says what changes it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from worker.domain.order import Invoice, Lack, LackKind, Order

UNASKED: tuple[LackKind, ...] = ("held", "waiting", "lapsed")  # asked as soon as a payment has room
UNFOUND: tuple[LackKind, ...] = ("waiting", "lapsed")  # no payment had room
FAILED: tuple[LackKind, ...] = ("failed", "short")  # only a person may ask again
LOST: tuple[LackKind, ...] = (*FAILED, "abandoned")


def total(order: Order, *kinds: LackKind) -> int:
    """How much the accepted invoices lack for these reasons."""
    return sum(lack.amount for lack in order.lacks if lack.kind in kinds) if order.lacks else 0


def lost(order: Order) -> int:
    """How much accepted invoices lack for good: it cannot be returned (R18)."""
    return total(order, *LOST)


def unlisted(order: Order) -> int:
    """How much accepted invoices lack that is not listed yet; below 0: how much is listed too much."""
    if not order.lacks:
        return order.lacking
    return order.lacking - sum(lack.amount for lack in order.lacks)


def unasked(lacks: Iterable[Lack]) -> list[Lack]:
    """Those lacks for which no payment was asked yet."""
    return [lack for lack in lacks if lack.kind in UNASKED]


def per_invoice(lacks: Iterable[Lack]) -> dict[str, list[Lack]]:
    """The lacks of each invoice, in the order given."""
    found: dict[str, list[Lack]] = {}
    for lack in lacks:
        found.setdefault(lack.invoice, []).append(lack)
    return found


def summed(amounts: Iterable[tuple[str, int]]) -> Counter[str]:
    """The sum of the amounts of each name."""
    found: Counter[str] = Counter()
    for name, amount in amounts:
        found[name] += amount
    return found


def add(order: Order, *lacks: Lack) -> None:
    """Lists these lacks; an amount of 0 is not listed."""
    order.lacks += [lack for lack in lacks if lack.amount > 0]
    if lacks and len(order.lacks) > 1:
        places = {number: place for place, number in enumerate(order.invoices)}
        order.lacks.sort(key=lambda lack: places[lack.invoice])


def remove(
    lacks: list[Lack], amount: int, these: Iterable[Lack] | None = None, leaving: LackKind | None = None
) -> list[Lack]:
    """Removes up to an amount from a list: from all of it or from `these`, one after another. Returns what it removed.

    In the place of each amount it leaves a lack of the kind `leaving`, if given.
    """
    if amount <= 0 or not lacks:
        return []
    parts: dict[int, Lack] = {}  # by id(): two lacks in a list may be equal
    for lack in lacks if these is None else these:
        parts[id(lack)] = lack if lack.amount <= amount else replace(lack, amount=amount)
        amount -= lack.amount
        if amount <= 0:
            break
    rest: list[Lack] = []
    for lack in lacks:
        part = parts.get(id(lack))
        if part is None:
            rest.append(lack)
            continue
        if leaving:
            rest.append(Lack(lack.invoice, leaving, part.amount))
        if part is not lack:
            rest.append(replace(lack, amount=lack.amount - part.amount))
    lacks[:] = rest
    return list(parts.values())


def newest_first(order: Order) -> Iterator[tuple[Invoice, int]]:
    """The sales, each with its value without the excess."""
    return ((invoice, invoice.due) for invoice in reversed(order.invoices.values()) if invoice.output)


def list_rest(order: Order, invoices: Iterable[tuple[Invoice, int]], kind: LackKind, command_id: str = "") -> None:
    """Lists what is lacking and not listed yet on these sales, on each up to the given limit and its own value."""
    left = unlisted(order)
    listed = summed((lack.invoice, lack.amount) for lack in order.lacks)
    found: list[Lack] = []
    for invoice, most in invoices:
        if left <= 0:
            break
        part = min(left, most, invoice.due - listed[invoice.number])
        if part > 0:
            listed[invoice.number] += part
            found.append(Lack(invoice.number, kind, part, command_id))
            left -= part
    add(order, *found)
