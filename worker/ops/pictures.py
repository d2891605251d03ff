"""Numbers as shapes: places and widths, in whole units, for the SVG of the templates."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from worker.people.orders import place

WIDTH = HEIGHT = 1000
Json = dict[str, Any]

# In the order in which an authorization is used up, from what is done to what is left.
PARTS = (
    ("settled", "settled"),
    ("settling", "settling"),
    ("refunding", "being refunded"),
    ("refunded", "refunded"),
    ("voiding", "being voided"),
    ("voided", "voided"),
    ("lapsed", "lapsed"),
    ("open", "open"),
)


class Part(Struct, frozen=True):
    """One part of a bar; `x` and `width` in thousandths of the whole."""

    name: str
    label: str
    value: int
    x: int
    width: int


def bar(values: Sequence[tuple[str, str, int]]) -> list[Part]:
    """The parts side by side; one that is not nothing is seen, however small."""
    shown = [(name, label, value) for name, label, value in values if value > 0]
    total = sum(value for _, _, value in shown)
    least = min(8, WIDTH // max(1, len(shown)))
    widths = [max(least, value * WIDTH // total) for _, _, value in shown]
    if widths:
        widths[widths.index(max(widths))] += WIDTH - sum(widths)
    found, x = [], 0
    for (name, label, value), width in zip(shown, widths, strict=True):
        found.append(Part(name, label, value, x, width))
        x += width
    return found


def authorization(payment: Json) -> list[Part]:
    """What became of an authorization; what was captured and given back counts as refunded."""
    kept = payment["settled"] - payment["refunded"] - payment["refunding"]
    used = sum(payment[name] for name in ("settled", "settling", "voided", "voiding"))
    lapsed = max(0, payment["authorized"] - used) if payment.get("lapsed") else 0
    values = {**payment, "settled": kept, "lapsed": lapsed, "open": 0 if lapsed else payment["open"]}
    return bar([(name, label, values[name]) for name, label in PARTS])


class Step(Struct, frozen=True):
    """What one fact moved, and where all the money of the order is after it."""

    fact: int
    kind: str
    about: str | None
    at: datetime | None
    place: str
    moves: list[Json]
    parts: list[Part]


def steps(entries: Iterable[Json]) -> list[Step]:
    """Fact by fact, the way of each cent: the film of the order's money."""
    balances = dict.fromkeys(("authorized", "headroom", "settling", "settled", "refunding", "refunded", "voiding",
                              "voided", "lapsed"), 0)  # fmt: skip
    found: list[Step] = []
    grouped: dict[int, list[Json]] = {}
    for entry in entries:
        grouped.setdefault(entry["fact"], []).append(entry)
    for fact, moves in grouped.items():
        for move in moves:
            if move["debit"] in balances:
                balances[move["debit"]] -= move["amount"]
            balances[move["credit"]] += move["amount"]
        first = moves[0]
        parts = bar(
            [(name, label, max(0, balances["authorized" if name == "open" else name])) for name, label in PARTS]
        )
        found.append(Step(fact, first["kind"], first.get("about"), first.get("decided_at"), place(first), moves, parts))
    return found


class Column(Struct, frozen=True):
    """One minute of the chart; heights in thousandths of the highest."""

    x: int
    parts: list[tuple[str, int, int]]
    """Class, y from above, height."""


def stacked(minutes: Sequence[Sequence[int]], names: Sequence[str]) -> list[Column]:
    """Stacked columns, oldest first."""
    most = max((sum(one) for one in minutes), default=0)
    found = []
    for minute, one in enumerate(minutes):
        y, parts = HEIGHT, []
        for name, number in zip(names, one, strict=True):
            if number:
                tall = max(12, number * HEIGHT // most)
                y -= tall
                parts.append((name, max(0, y), tall))
        found.append(Column(minute, parts))
    return found
