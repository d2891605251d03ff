"""Turns amounts and counts into the positions and sizes, in whole units, that the templates draw as SVG."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from worker.people.orders import place

WIDTH = HEIGHT = 1000
Json = dict[str, Any]

# The parts of an authorization and their labels, in the order of the bar: from what is done to what is left.
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
    """Lays the parts side by side; every part above 0 is wide enough to be seen."""
    shown = [(name, label, value) for name, label, value in values if value > 0]
    total = sum(value for _, _, value in shown)
    width_min = min(8, WIDTH // max(1, len(shown)))
    widths = [max(width_min, value * WIDTH // total) for _, _, value in shown]
    if widths:
        widths[widths.index(max(widths))] += WIDTH - sum(widths)
    parts, x = [], 0
    for (name, label, value), width in zip(shown, widths, strict=True):
        parts.append(Part(name, label, value, x, width))
        x += width
    return parts


def authorization(payment: Json) -> list[Part]:
    """Returns the bar of a payment's authorization; what was captured and then refunded counts as refunded only."""
    not_refunded = payment["settled"] - payment["refunded"] - payment["refunding"]
    used = sum(payment[name] for name in ("settled", "settling", "voided", "voiding"))
    lapsed = max(0, payment["authorized"] - used) if payment.get("lapsed") else 0
    values = {**payment, "settled": not_refunded, "lapsed": lapsed, "open": 0 if lapsed else payment["open"]}
    return bar([(name, label, values[name]) for name, label in PARTS])


class Step(Struct, frozen=True):
    """The entries of one fact, and how the order's money is divided after them."""

    fact: int
    kind: str
    about: str | None
    at: datetime | None
    place: str
    moves: list[Json]
    parts: list[Part]


def money_steps(entries: Iterable[Json]) -> list[Step]:
    """Returns a step for each fact, in order, from the ledger entries of one order."""
    balances = dict.fromkeys(("authorized", "headroom", "settling", "settled", "refunding", "refunded", "voiding",
                              "voided", "lapsed"), 0)  # fmt: skip
    steps: list[Step] = []
    by_fact: dict[int, list[Json]] = {}
    for entry in entries:
        by_fact.setdefault(entry["fact"], []).append(entry)
    for fact, moves in by_fact.items():
        for move in moves:
            if move["debit"] in balances:
                balances[move["debit"]] -= move["amount"]
            balances[move["credit"]] += move["amount"]
        first = moves[0]
        parts = bar(
            [(name, label, max(0, balances["authorized" if name == "open" else name])) for name, label in PARTS]
        )
        steps.append(Step(fact, first["kind"], first.get("about"), first.get("decided_at"), place(first), moves, parts))
    return steps


class Column(Struct, frozen=True):
    """One minute of the chart; heights in thousandths of the highest column."""

    x: int
    parts: list[tuple[str, int, int]]
    """CSS class, y from the top, height."""


def stacked(minutes: Sequence[Sequence[int]], names: Sequence[str]) -> list[Column]:
    """Returns a stacked column for each minute, with one part per name."""
    highest = max((sum(counts) for counts in minutes), default=0)
    columns = []
    for x, counts in enumerate(minutes):
        y, parts = HEIGHT, []
        for name, number in zip(names, counts, strict=True):
            if number:
                height = max(12, number * HEIGHT // highest)
                y -= height
                parts.append((name, max(0, y), height))
        columns.append(Column(x, parts))
    return columns
