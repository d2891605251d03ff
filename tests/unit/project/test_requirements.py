"""The requirement files pin exactly the versions that were tested, and name no package index."""

import re
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]
FILES = sorted((PROJECT / "requirements").glob("*.txt"))
BROKER_LOCK = PROJECT / "worker/stack/broker.lock"
PINNED = re.compile(r"^[a-z0-9._-]+(\[[a-z0-9,._-]+\])?==[^ ]+( ; [^\\]+)?( \\)?$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$")
JAR = re.compile(r"^[0-9a-f]{64}  [A-Za-z0-9._-]+:[A-Za-z0-9._-]+:[A-Za-z0-9._-]+$")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_requirement_is_pinned_and_hashed_and_names_no_index(path: Path) -> None:
    lines = path.read_text().splitlines()

    unpinned = [line for line in lines if not PINNED.match(line) and not HASH.match(line)]
    unhashed = [
        line
        for line, after in zip(lines, [*lines[1:], ""], strict=True)
        if PINNED.match(line) and not HASH.match(after)
    ]

    assert not unpinned
    assert not unhashed


@pytest.mark.parametrize("name", ["build.txt", "image.txt"])
def test_the_image_is_built_from_the_versions_that_were_tested(name: str) -> None:
    image, development = (_versions(PROJECT / "requirements" / file) for file in (name, "dev.txt"))

    assert image.items() <= development.items()


def test_packages_that_only_build_the_wheel_are_not_in_the_image() -> None:
    build_system = tomllib.loads((PROJECT / "pyproject.toml").read_text())["build-system"]
    build, image = (_versions(PROJECT / "requirements" / name).keys() for name in ("build.txt", "image.txt"))

    assert set(build_system["requires"]) <= build
    assert not set(build_system["requires"]) & image


@pytest.mark.parametrize(
    ("name", "extras"), [("dev.txt", ("local", "ops", "traces")), ("image.txt", ("ops", "traces"))]
)
def test_every_dependency_of_the_project_is_pinned(name: str, extras: tuple[str, ...]) -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]

    assert {re.split(r"[<>=;\[ ]", line)[0] for line in lines} <= _versions(PROJECT / "requirements" / name).keys()


def test_the_brokers_lock_file_contains_hashes_and_coordinates_only() -> None:
    lines = [line for line in BROKER_LOCK.read_text().splitlines() if not line.startswith("#")]

    assert len(lines) > 40
    assert [line for line in lines if not JAR.match(line)] == []


def _versions(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9._-]+)(?:\[[^\]]*\])?==(\S+)", path.read_text(), re.MULTILINE))
