"""Sums over all rows, kept up to date row by row; counted afresh after a recovery, never stored."""

from collections import Counter, defaultdict
from collections.abc import Iterable

from msgspec import Struct

from worker.ops.row import Asked, Row

LIVE = ("authorized", "open", "settling", "refunding", "voiding")
MOVES = ("settled", "refunded", "voided")


class Way(Struct):
    """What is on its way to one connector in one currency."""

    commands: int = 0
    value: int = 0
    troubled: int = 0


class Totals:
    """What the page *now* shows in numbers."""

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.attention: Counter[str] = Counter()
        self.money: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        """(currency, merchant) → the sums of `LIVE` over orders that are not at their end."""
        self.moved: defaultdict[tuple[int, str], Counter[str]] = defaultdict(Counter)
        """(day since 1970, currency) → the sums of `MOVES`."""
        self.ways: defaultdict[tuple[str, str], Way] = defaultdict(Way)
        """(connector, currency) → what is on its way: for each connector that an order ever had, even if nothing."""
        self.asked: dict[str, Asked] = {}
        """Every command under way."""

    @classmethod
    def of(cls, rows: Iterable[Row]) -> "Totals":
        """Counted from the rows alone."""
        totals = cls()
        for row in rows:
            totals.swap(None, row)
        return totals

    def swap(self, old: Row | None, new: Row | None) -> None:
        """One order's row was replaced by another; None: there was or is no row."""
        if old is not None:
            self._count(old, -1)
        if new is not None:
            self._count(new, 1)
        for command_id in old.asked if old is not None else ():
            del self.asked[command_id]
        if new is not None:
            self.asked.update(new.asked)

    def _count(self, row: Row, sign: int) -> None:
        state = row.state
        if state is None:
            return
        self.statuses[state.status] += sign
        money = self.money[state.currency, state.merchant]
        money["orders"] += sign
        for name in LIVE:
            money[name] += sign * getattr(state, name)
        if row.moved.day:
            moved = self.moved[row.moved.day, state.currency]
            for name in MOVES:
                moved[name] += sign * getattr(row.moved, name)
        for one in state.attention:
            self.attention[one.code] += sign
        for payment in state.payments:
            self.ways.setdefault((payment.connector, state.currency), Way())
        for asked in row.asked.values():
            way = self.ways[asked.connector, state.currency]
            way.commands += sign
            way.value += sign * asked.value
            way.troubled += sign * bool(asked.trouble)
