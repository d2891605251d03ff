"""What is installed is exactly what was tested, from whatever index the machine is told to use."""

import re
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
FILES = sorted((PROJECT / "requirements").glob("*.txt"))
BROKER_LOCK = PROJECT / "worker/stack/broker.lock"
PINNED = re.compile(r"^[a-z0-9._-]+(\[[a-z0-9,._-]+\])?==[^ ]+( ; [^\\]+)?( \\)?$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$")
JAR = re.compile(r"^[0-9a-f]{64}  [A-Za-z0-9._-]+:[A-Za-z0-9._-]+:[A-Za-z0-9._-]+$")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_requirement_is_pinned_and_hashed_and_no_index_is_named(path: Path) -> None:
    lines = path.read_text().splitlines()

    strange = [line for line in lines if not PINNED.match(line) and not HASH.match(line)]
    unhashed = [
        line
        for line, after in zip(lines, [*lines[1:], ""], strict=True)
        if PINNED.match(line) and not HASH.match(after)
    ]

    assert not strange
    assert not unhashed


def test_plain_use_and_development_run_the_same_versions() -> None:
    plain, development = (_versions(PROJECT / "requirements" / name) for name in ("plain.txt", "dev.txt"))

    assert plain.items() <= development.items()


@pytest.mark.parametrize(
    ("name", "extras"), [("plain.txt", ("local", "ops")), ("image.txt", ("build", "ops", "traces"))]
)
def test_everything_that_the_project_asks_for_is_pinned(name: str, extras: tuple[str, ...]) -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(one for extra in extras for one in project["optional-dependencies"][extra])]

    assert {re.split(r"[<>=;\[ ]", line)[0] for line in lines} <= _versions(PROJECT / "requirements" / name).keys()


def test_the_brokers_lock_holds_sums_and_coordinates_only() -> None:
    lines = [line for line in BROKER_LOCK.read_text().splitlines() if not line.startswith("#")]

    assert len(lines) > 40
    assert [line for line in lines if not JAR.match(line)] == []


def _versions(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9._-]+)(?:\[[^\]]*\])?==(\S+)", path.read_text(), re.MULTILINE))
