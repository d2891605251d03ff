"""Sums over all rows, updated row by row in memory. They are never stored, but summed again after a recovery."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import TypeVar

from msgspec import Struct

from worker.ops.row import OpenCommand, Row

T = TypeVar("T")

# Amounts of an order's state, and amounts that were moved on one day.
STATE_AMOUNTS = ("authorized", "open", "settling", "refunding", "voiding")
DAY_AMOUNTS = ("settled", "refunded", "voided")


class InFlight(Struct):
    """The open commands of one connector in one currency."""

    commands: int = 0
    value: int = 0
    troubled: int = 0


class Totals:
    """The sums that the page *now* shows."""

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.attention: Counter[str] = Counter()
        """Kind of need → how many amounts need a person so."""
        self.at_stake: Counter[tuple[str, str]] = Counter()
        """(kind of need, currency) → the sum of those amounts."""
        self.money: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        """(currency, merchant) → number of orders, and the sums of `STATE_AMOUNTS`."""
        self.moved: defaultdict[tuple[int, str], Counter[str]] = defaultdict(Counter)
        """(day since 1970, currency) → the sums of `DAY_AMOUNTS`."""
        self.in_flight: defaultdict[tuple[str, str], InFlight] = defaultdict(InFlight)
        """(connector, currency) → its open commands. Has every connector that an order named, also without any."""
        self.open_commands: dict[str, OpenCommand] = {}
        """By command id."""

    def merchants(self) -> list[str]:
        return sorted({merchant for _, merchant in self.money})

    def connectors(self) -> list[str]:
        return sorted({connector for connector, _ in self.in_flight})

    @classmethod
    def of(cls, rows: Iterable[Row]) -> "Totals":
        totals = cls()
        for row in rows:
            totals.replace(None, row)
        return totals

    def replace(self, old: Row | None, new: Row | None) -> None:
        """Replaces what one order adds to the sums; None: it had, or has no longer, a row."""
        if old is not None:
            self._add(old, -1)
        if new is not None:
            self._add(new, 1)
        for command_id in old.open_commands if old is not None else ():
            del self.open_commands[command_id]
        if new is not None:
            self.open_commands.update(new.open_commands)

    def _add(self, row: Row, sign: int) -> None:
        state = row.state
        if state is None:
            return
        self.statuses[state.status] += sign
        money = self.money[state.currency, state.merchant]
        money["orders"] += sign
        for name in STATE_AMOUNTS:
            money[name] += sign * getattr(state, name)
        if row.moved.day:
            moved = self.moved[row.moved.day, state.currency]
            for name in DAY_AMOUNTS:
                moved[name] += sign * getattr(row.moved, name)
        for entry in state.attention:
            self.attention[entry.code] += sign
            self.at_stake[entry.code, state.currency] += sign * entry.amount
        self.attention["waiting"] += sign * bool(state.waiting)
        self.at_stake["waiting", state.currency] += sign * state.waiting
        for payment in state.payments:
            self.in_flight.setdefault((payment.connector, state.currency), InFlight())
        for command in row.open_commands.values():
            in_flight = self.in_flight[command.connector, state.currency]
            in_flight.commands += sign
            in_flight.value += sign * command.value
            in_flight.troubled += sign * bool(command.trouble)


def positive(counter: Counter[T]) -> Counter[T]:
    """A copy without the names whose count has gone back to 0."""
    return +counter
