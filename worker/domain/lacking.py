"""What accepted invoices lack: kept per invoice with its reason, in sum always max(0, O − K).

Why settles keep what they are missing as well is said in `missing.py`.
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
    """What accepted invoices lack for good: no return can be taken from it (R18)."""
    return total(order, *LOST)


def unlisted(order: Order) -> int:
    """What is lacking and not yet on the list."""
    if not order.lacks:
        return order.lacking
    return order.lacking - sum(lack.amount for lack in order.lacks)


def _known(order: Order) -> Counter[str]:
    """What each invoice is known to lack."""
    return summed((lack.invoice, lack.amount) for lack in order.lacks)


def summed(amounts: Iterable[tuple[str, int]]) -> Counter[str]:
    """The sum of each name's amounts."""
    found: Counter[str] = Counter()
    for name, amount in amounts:
        found[name] += amount
    return found


def lapsed_unlisted(order: Order) -> int:
    """What lapsed with its authorizations, beyond what is already listed as lapsed."""
    gone = sum(untouched_room(payment) for payment in order.payments if payment.lapsed)
    return max(0, gone - total(order, "lapsed"))


def add(draft: Draft, invoice: str, kind: LackKind, amount: int, command_id: str = "") -> None:
    """Lists a lack, in the order of the invoices."""
    if amount > 0:
        add_all(draft.order, [Lack(invoice, kind, amount, command_id)])


def add_all(order: Order, lacks: list[Lack]) -> None:
    """Lists several lacks, each beside the others of its invoice."""
    order.lacks += lacks
    if lacks and len(order.lacks) > 1:
        places = {number: place for place, number in enumerate(order.invoices)}
        order.lacks.sort(key=lambda lack: places[lack.invoice])


def lose(draft: Draft, command: Command, kind: LackKind) -> int:
    """Lists what a failed or short settle leaves its invoices lacking; returns how much that is."""
    order = draft.order
    amount = left = unlisted(order)
    if order.mode == "PARTIAL":
        asked = [(order.invoices[number], covered) for number, covered in reversed(command.covers)]
        left -= _list_on(draft, asked, left, kind, command.command_id)
    # What was taken without naming an invoice counts for the oldest, so the newest lack the rest.
    _list_on(draft, _newest_first(order), left, kind, command.command_id)
    return amount


def _newest_first(order: Order) -> Iterator[tuple[Invoice, int]]:
    return ((invoice, invoice.due) for invoice in reversed(order.invoices.values()))


def _list_on(
    draft: Draft, invoices: Iterable[tuple[Invoice, int]], amount: int, kind: LackKind, command_id: str = ""
) -> int:
    """Lists an amount as lacking on sales, none above its own limit or its value; returns how much was listed."""
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


def take_off(draft: Draft, amount: int, of: Callable[[Lack], bool] = lambda _: True) -> list[Lack]:
    """Strikes up to an amount from the list, oldest invoice first; returns what was struck."""
    draft.order.lacks, gone = struck(draft.order.lacks, amount, of)
    return gone


def struck(
    lacks: Iterable[Lack], amount: int, of: Callable[[Lack], bool] = lambda _: True
) -> tuple[list[Lack], list[Lack]]:
    """What stays of these when up to an amount is struck, and what does not."""
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


def take_off_captured(draft: Draft, amount: int, failed: Collection[str]) -> list[Lack]:
    """Strikes up to an amount, oldest invoice first, of each first what these commands failed to take; returns it."""
    kept: list[Lack] = []
    gone: list[Lack] = []
    left = amount
    for mine in per_invoice(draft.order.lacks).values():
        own, now = struck(mine, left, lambda lack: lack.command_id in failed)
        rest, then = struck(own, left - sum(lack.amount for lack in now))
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


def take_off_failed(draft: Draft, amount: int, command_id: str) -> Covers:
    """Strikes what a retry asks for: the command's own lacks first, then any that failed; how much of which invoice.

    Where one settle stands for all invoices, money may have covered this command's lacks and lowered what another is
    missing.
    """
    own = take_off(draft, amount, lambda lack: lack.command_id == command_id)
    left = amount - sum(lack.amount for lack in own)
    others = take_off(draft, left, lambda lack: lack.kind in FAILED)
    return tuple((lack.invoice, lack.amount) for lack in own + others)


def is_unasked(lack: Lack) -> bool:
    return lack.kind in UNASKED


def lay_open(draft: Draft) -> None:
    """Lists what is newly lacking as not yet asked for: on the newest invoices that no command was asked for."""
    order = draft.order
    asked = _known(order) + _asked_or_done(order)
    unasked = ((invoice, most - asked[invoice.number]) for invoice, most in _newest_first(order))
    _list_on(draft, unasked, unlisted(order), "held")


def _asked_or_done(order: Order) -> Counter[str]:
    """PARTIAL: how much of each invoice commands have captured or may still capture: that needs nothing of the pool."""
    found: Counter[str] = Counter()
    for command in order.commands.values() if order.mode == "PARTIAL" else ():
        left = command.reference if command.in_flight else command.done_reference
        for number, covered in command.covers:
            part = min(left, covered)
            found[number] += part
            left -= part
    return found
