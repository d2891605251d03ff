"""Turns amounts and counts into the positions and sizes, in whole units, that the templates draw as SVG."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from worker.people.money import PARTS, authorization_parts
from worker.people.orders import OrderPage, place

WIDTH = HEIGHT = 1000
Json = dict[str, Any]


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


def authorization(payments: Iterable[Json]) -> list[Part]:
    """Returns the bar of what these payments authorized."""
    return _bar_of(authorization_parts(payments))


class Step(Struct, frozen=True):
    """The entries of one fact, and how the order's money is divided after them."""

    kind: str
    about: str | None
    at: datetime
    place: str
    moves: list[Json]
    parts: list[Part]


def money_steps(page: OrderPage) -> list[Step]:
    """Returns a step for each fact that moved money, in order."""
    balances, steps = Counter[str](), []
    for moves in page.entries_by_fact():
        for move in moves:
            balances[move["debit"]] -= move["amount"]
            balances[move["credit"]] += move["amount"]
        first, parts = moves[0], _bar_of({**balances, "open": balances["authorized"]})
        steps.append(Step(first["kind"], first["about"], first["decided_at"], place(first), moves, parts))
    return steps


def _bar_of(amounts: Mapping[str, int]) -> list[Part]:
    return bar([(name, label, amounts.get(name, 0)) for name, label in PARTS.items()])


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
