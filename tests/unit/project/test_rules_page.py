"""docs/rules.md has one entry for every rule and invariant, and for every number that is cited."""

import re
from collections import Counter
from pathlib import Path

import pytest

# R1 to R99 and I1 to I99; `R-1` or `order R1x` cite no rule.
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
        path: path.read_text()
        for folder in CITING
        for path in sorted((project / folder).rglob("*"))
        if path.suffix in TEXT
    }
    cited = {(str(path.relative_to(project)), rule) for path, text in texts.items() for rule in _NUMBER.findall(text)}

    assert {"R18", "I7"} <= {rule for _, rule in cited}
    assert {(path, rule) for path, rule in cited if rule not in entries} == set()


def test_the_main_pages_link_to_the_rules(project: Path):
    for page in ("README.md", "CONTRIBUTING.md", "docs/how-money-moves.md"):
        assert "rules.md" in (project / page).read_text(), page
