"""docs/rules.md has an entry for every rule and invariant, and so for every number that somebody may look up."""

import re
from collections import Counter
from pathlib import Path

import pytest

# R0, I10 or R40 would be no rule; `R-1` or `order R1x` is none of ours.
_NUMBER = re.compile(r"\b[RI](?:[1-9][0-9]?)\b")
_ENTRY = re.compile(r"^\*\*([RI][0-9]+)\. ", re.MULTILINE)
CITING = ("worker", "schemas", "docs", "deploy")
TEXT = {".py", ".sql", ".md", ".json", ".yaml", ".yml", ".toml", ".html", ".js", ".css"}


@pytest.fixture(scope="module")
def entries(project: Path) -> Counter[str]:
    return Counter(_ENTRY.findall((project / "docs/rules.md").read_text()))


def test_every_rule_and_invariant_has_one_entry(entries: Counter[str]):
    assert entries == Counter([*(f"R{number}" for number in range(1, 40)), *(f"I{number}" for number in range(1, 10))])


def test_every_rule_cited_in_code_or_pages_has_an_entry(project: Path, entries: Counter[str]):
    texts = {
        path: path.read_text() for room in CITING for path in sorted((project / room).rglob("*")) if path.suffix in TEXT
    }
    cited = {(str(path.relative_to(project)), one) for path, text in texts.items() for one in _NUMBER.findall(text)}

    assert {"R18", "I7"} <= {one for _, one in cited}
    assert {(path, one) for path, one in cited if one not in entries} == set()


def test_the_main_pages_link_to_the_rules(project: Path):
    for page in ("README.md", "CONTRIBUTING.md", "docs/how-money-moves.md"):
        assert "rules.md" in (project / page).read_text(), page
