"""docs/settings.md lists every setting with its default, what it takes and which programs read it."""

import re
from pathlib import Path

import pytest

from worker.cli import COMMANDS
from worker.settings import NAMES, takes


@pytest.fixture(scope="module")
def rows(project: Path) -> list[tuple[str, ...]]:
    """The cells of every row that begins with the name of a setting."""
    lines = (project / "docs/settings.md").read_text().splitlines()
    return [tuple(cell.strip() for cell in line.strip("|").split(" |")) for line in lines if line.startswith("| `")]


def default_of(name: str) -> str:
    match NAMES[name].default:
        case None:
            return ""
        case "":
            return "empty"
        case value:
            return f"`{value}`"


def test_every_setting_is_on_the_page_with_its_default_and_what_it_takes(rows: list[tuple[str, ...]]):
    expected = [(f"`{name}`", default_of(name), takes(name)) for name in NAMES]

    assert sorted(row[:3] for row in rows) == sorted(expected)


def test_every_setting_names_the_programs_that_read_it(rows: list[tuple[str, ...]]):
    for name, _, _, readers, _ in rows:
        named = {reader.split()[0] for reader in re.findall(r"`([a-z][^`]*)`", readers)}
        assert named <= COMMANDS.keys(), name
        assert named or readers == "the same", name
