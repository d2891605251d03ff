"""Writes `docs/benchmarks.md`: each benchmark replaces its own section, between two marks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.bench import machine

PROJECT = Path(__file__).parent.parent.parent
PAGE = PROJECT / "docs" / "benchmarks.md"
PICTURES = PROJECT / "docs" / "benchmarks"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; all columns but the first are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


@dataclass(frozen=True)
class Section:
    """The section of one benchmark: text, pictures by name, and the command that reproduces it."""

    name: str
    text: str
    command: str
    pictures: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> str:
        images = "".join(f"\n\n![{name}](benchmarks/{name}.svg)" for name in self.pictures)
        return f"{self.text.strip()}{images}\n\n`{self.command}`, {datetime.now(UTC):%Y-%m-%d}, {machine.describe()}."

    def write(self) -> None:
        """Replaces the text between the section's marks in the page, and writes the pictures beside the page."""
        begin, end = f"<!-- begin {self.name} -->", f"<!-- end {self.name} -->"
        before, mark, rest = PAGE.read_text().partition(begin)
        if not mark:
            raise SystemExit(f"{PAGE} has no line {begin}: add it, and {end}, where the section belongs")
        PAGE.write_text(f"{before}{begin}\n\n{self.content}\n\n{end}{rest.partition(end)[2]}")
        PICTURES.mkdir(exist_ok=True)
        for name, svg in self.pictures.items():
            (PICTURES / f"{name}.svg").write_text(svg)
