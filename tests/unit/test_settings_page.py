"""docs/settings.md names every setting and every key of the connectors file, with its default and what it takes."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic.fields import FieldInfo

from worker.cli import COMMANDS
from worker.connector.file import _CONNECTOR, _MERCHANT, Check, Connector, Merchant
from worker.settings import Settings

Row = tuple[str, ...]


@pytest.fixture(scope="module")
def page(project: Path) -> str:
    return (project / "docs/settings.md").read_text()


def section(page: str, heading: str) -> str:
    """What stands below a heading, down to the next one of its rank."""
    rank = heading.split(maxsplit=1)[0]
    return re.split(rf"^#{{1,{len(rank)}}} ", page.split(f"\n{heading}\n")[1], flags=re.MULTILINE)[0]


def rows(text: str) -> Iterator[Row]:
    """Every row of every table whose first cell is a name."""
    for line in text.splitlines():
        if line.startswith("| `"):
            yield tuple(cell.strip() for cell in line.strip("|").split(" |"))


def default_of(field: FieldInfo) -> str:
    match field.default:
        case None:
            return ""
        case "":
            return "empty"
        case value:
            return f"`{value}`"


def written(value: Any) -> str:
    """A default as TOML has it."""
    match value:
        case msgspec.NODEFAULT:
            return "required"
        case None:
            return ""
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case tuple():
            return f"[{', '.join(map(written, value))}]"
        case _:
            return f"{value:g}"


def keys(table: type[msgspec.Struct], checks: dict[str, Check]) -> list[Row]:
    defaults = {field.name: field.default for field in msgspec.structs.fields(table)}
    return [(f"`{key}`", written(defaults[key]), rule) for key, (_, rule) in checks.items()]


def test_every_setting_is_on_the_page_with_its_default_and_what_it_takes(page: str):
    shown = [row[:3] for row in rows(section(page, "## The environment"))]
    meant = [
        (f"`{name.upper()}`", default_of(field), field.description) for name, field in Settings.model_fields.items()
    ]

    assert sorted(shown) == sorted(meant)


def test_every_setting_says_which_programs_read_it(page: str):
    for row in rows(section(page, "## The environment")):
        named = {one.split()[0] for one in re.findall(r"`([a-z][^`]*)`", row[3])}
        assert named <= COMMANDS.keys(), row[0]
        assert named or row[3] == "the same", row[0]


@pytest.mark.parametrize(
    ("heading", "table", "checks"),
    [("### `[connectors.<name>]`", Connector, _CONNECTOR), ("### `[merchants.<name>]`", Merchant, _MERCHANT)],
)
def test_every_key_of_the_connectors_file_is_on_the_page(
    page: str, heading: str, table: type[msgspec.Struct], checks: dict[str, Check]
):
    assert [row[:3] for row in rows(section(page, heading))] == keys(table, checks)
