"""The domain does what every table of `docs/how-money-moves.md` says, and the one in the docstring of `missing.py`."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.domain.scenario import Scenario, pay
from worker.domain import missing

PAGE = Path(__file__).parents[3] / "docs" / "how-money-moves.md"
_ROW = re.compile(r"^\| `(?P<play>[^`]+)` \| (?P<asked>[^|]+) \| (?P<after>[^|]+) \|$")
# The orders of the lines `Order: …` above the tables.
ORDERS: dict[str, Callable[[], Scenario]] = {
    "": Scenario,
    "mode TOTAL": lambda: Scenario(by="total"),
    "mode HOLD": lambda: Scenario(by="hold"),
    "payments a of 7000 and b of 3000": lambda: Scenario(pay("a", 7000), pay("b", 3000)),
    "one payment of 10800 for an order of 10000": lambda: Scenario(pay("p1", 10800, reference=10000)),
}

Story = tuple[str, list[re.Match[str]]]


def _stories() -> list[Story]:
    """The tables of the page: the line of the order, and the rows."""
    tables: list[Story] = [("", [])]
    for line in PAGE.read_text("utf-8").splitlines():
        if row := _ROW.match(line):
            tables[-1][1].append(row)
        elif line.startswith("Order: "):
            tables.append((line.removeprefix("Order: "), []))
        elif tables[-1][1]:
            tables.append(("", []))
    return [table for table in tables if table[1]]


def test_all_nine_tables_of_the_seven_stories_are_found() -> None:
    assert len(_stories()) == 9
    assert {order for order, _ in _stories()} == ORDERS.keys()


@pytest.mark.parametrize(
    ("order", "rows"), _stories(), ids=lambda value: value or "PARTIAL" if isinstance(value, str) else value[-1]["play"]
)
def test_every_table_of_how_money_moves_is_true(order: str, rows: list[re.Match[str]]) -> None:
    scenario = ORDERS[order]()
    several = len(scenario.payments) > 1
    for row in rows:
        before = len(scenario.issued)

        scenario.play(row["play"])

        asked = ", ".join(
            f"{one.operation} {one.value}" + (f" on {one.payment_id}" if several else "")
            for one in scenario.issued[before:]
        )
        assert (asked or "nothing") == row["asked"].strip(), row["play"]
        scenario.shows(row["after"].strip())


def test_the_example_of_what_settles_are_missing_is_true() -> None:
    rows = re.findall(r"^ +\| (\S.*?) +\| (.*?) +\| (\d+) +\| (\d+) +\|$", missing.__doc__ or "", re.MULTILINE)
    assert len(rows) == 5
    scenario = Scenario(by="total").script("settle", "declined")
    for step, lacks, missed, given_up in rows:
        scenario.play(step)

        order = scenario.order
        listed = ", ".join(f"{lack.invoice}: {lack.amount} {lack.kind}" for lack in order.lacks)
        assert (listed, missing.total(order), order.given_up) == (lacks, int(missed), int(given_up)), step
