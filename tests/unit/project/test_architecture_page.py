"""docs/architecture.md names the rooms that there are, and on which others each of them stands."""

import ast
import re
from pathlib import Path

import pytest

_ROOM = re.compile(r"^\| `worker/(\w+)` \| .* \| (.*) \|$", re.MULTILINE)


@pytest.fixture(scope="module")
def told(project: Path) -> dict[str, set[str]]:
    rows = _ROOM.findall((project / "docs/architecture.md").read_text())
    return {room: set(re.findall(r"\w+", re.sub(r"\(.*?\)", "", others))) - {"nothing"} for room, others in rows}


def test_every_package_is_on_the_page(project: Path, told: dict[str, set[str]]):
    assert told.keys() == {path.parent.name for path in project.glob("worker/*/__init__.py")}


def test_each_package_imports_exactly_those_that_the_page_lists(project: Path, told: dict[str, set[str]]):
    assert told == {room: imported(project / "worker" / room) & told.keys() - {room} for room in told}


def imported(room: Path) -> set[str]:
    """What follows `worker.` in a room's imports, those within functions included."""
    found = set()
    for path in room.rglob("*.py"):
        for one in ast.walk(ast.parse(path.read_text())):
            match one:
                case ast.ImportFrom(module=str(module)):
                    found |= {f"{module}.{alias.name}" for alias in one.names}
                case ast.Import():
                    found |= {alias.name for alias in one.names}
    return {name.split(".")[1] for name in found if name.startswith("worker.")}
