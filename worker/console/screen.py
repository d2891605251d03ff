"""Prints lines and JSON. Text from outside is escaped, so that the terminal obeys none of it."""

import json
import sys
import unicodedata
from datetime import UTC, datetime

import msgspec
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from worker.people.wording import duration

# More combining marks on one letter would reach into other lines.
MARKS_MAX = 3

# Unicode categories: control, format (bidirectional, zero width), surrogate, private, unassigned; line and paragraph
# separators.
_NOT_SHOWN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
_MARKS = frozenset(("Mn", "Me"))

# Status of an order, state of a command, kind of a need → colour.
STYLES = {
    "attention": "red", "suspect": "red", "unknown": "red", "manual": "yellow", "declined": "yellow",
    "failed": "yellow", "short": "yellow", "lapsed": "yellow", "waiting": "yellow", "succeeded": "green",
    "finished": "green", "canceled": "bright_black",
}  # fmt: skip

Cell = str | Text


def out() -> Console:
    """Standard output: colours only on a terminal, no markup, no automatic highlighting."""
    return _console(stderr=False)


def err() -> Console:
    """Standard error, as `out`."""
    return _console(stderr=True)


def plain(text: object) -> str:
    r"""Escapes every character that a terminal would obey or not show: `\x1b`, `\u202e`, `\n`."""
    text = str(text)
    if text.isascii() and text.isprintable():
        return text
    shown: list[str] = []
    marks = 0
    for character in text:
        category = unicodedata.category(character)
        marks = marks + 1 if category in _MARKS else 0
        shown.append(_escaped(character) if category in _NOT_SHOWN or marks > MARKS_MAX else character)
    return "".join(shown)


def cell(text: object, style: str = "") -> Text:
    """Escaped text with a style: a cell of a table, or a part of a line."""
    return Text(plain(text), style=style)


def show(console: Console, *parts: object, end: str = "\n") -> None:
    """Prints the parts as one line; a terminal wraps it between words, and what is longer than a line by itself."""
    line = Text()
    for one in parts:
        line.append_text(one if isinstance(one, Text) else cell(one))
    columns = columns_of(console)
    wraps = columns is not None and all(cell_len(word) <= columns for word in line.plain.split(" "))
    console.print(line, end=end, soft_wrap=not wraps)


def columns_of(console: Console) -> int | None:
    """The width of the terminal. A file or a pipe has none: whatever shows it breaks the lines."""
    return console.width if console.file.isatty() else None


def show_json(data: object) -> None:
    """Prints JSON in ASCII, so that a terminal obeys nothing in it either."""
    text = json.dumps(msgspec.to_builtins(data, enc_hook=str), indent=2 if sys.stdout.isatty() else None)
    sys.stdout.write(text.replace("\x7f", "\\u007f") + "\n")
    sys.stdout.flush()  # so that a failed write is our error, not the interpreter's at exit


def moment(at: datetime | None) -> str:
    """A time in UTC, to the second."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if at else ""


def age(at: datetime | None, now: datetime) -> str:
    """How long ago that was."""
    return duration((now - at).total_seconds()) if at else ""


def pluralize(count: int, noun: str) -> str:
    """`1 order`, `12,000 orders`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _console(*, stderr: bool) -> Console:
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False)


def _escaped(character: str) -> str:
    named = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character)
    if named is not None:
        return named
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
