"""`docs/how-money-moves.md` tells no story that the domain does not play."""

import re
from pathlib import Path

import pytest

from tests.unit.domain.scenario import Scenario

PAGE = Path(__file__).parents[3] / "docs" / "how-money-moves.md"
_ROW = re.compile(r"^\| `(?P<play>[^`]+)` \| (?P<asked>[^|]+) \| (?P<after>[^|]+) \|$")


def _stories() -> list[list[re.Match[str]]]:
    """The tables of the page, row by row."""
    tables: list[list[re.Match[str]]] = [[]]
    for line in PAGE.read_text("utf-8").splitlines():
        if row := _ROW.match(line):
            tables[-1].append(row)
        elif tables[-1]:
            tables.append([])
    return [table for table in tables if table]


def test_all_five_tables_of_the_four_stories_are_found() -> None:
    assert len(_stories()) == 5


@pytest.mark.parametrize("story", _stories(), ids=lambda rows: rows[-1]["play"])
def test_every_table_of_how_money_moves_is_true(story: list[re.Match[str]]) -> None:
    scenario = Scenario()
    for row in story:
        before = len(scenario.issued)

        scenario.say(row["play"])

        asked = ", ".join(f"{one.operation} {one.value}" for one in scenario.issued[before:])
        assert (asked or "nothing") == row["asked"].strip(), row["play"]
        scenario.shows(row["after"].strip())
