"""Tables: no id is broken, whatever the width, and a long one is written step by step."""

from io import StringIO

import pytest
from rich.console import Console

from worker.console.screen import cell
from worker.console.tables import LINES_AT_ONCE, show_table

ID = "0b6d5a52-5f6e-5c3e-9a55-0d9f3f7a4f10"
HEADS = ("need", "order", "about", "since", "says")
ROWS = [
    ("unknown", "O-1001", ID, "3 h", "no answer within 24 hours (R36)"),
    ("failed", None, "invoice 17", "12 min", "declined: not with us"),
]


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def shown(file: StringIO, columns: int, *, rows: list[tuple[object, ...]] | None = None, indent: int = 0) -> list[str]:
    console = Console(file=file, width=columns, color_system=None)
    show_table(console, HEADS, ROWS if rows is None else rows, right=("since",), indent=indent)
    return file.getvalue().splitlines()


def test_a_wide_terminal_shows_every_column_beside_the_others():
    assert shown(Terminal(), 110) == [
        "need     order   about                                  since  says",
        f"unknown  O-1001  {ID}     3 h  no answer within 24 hours (R36)",
        "failed           invoice 17                            12 min  declined: not with us",
    ]


def test_a_terminal_wraps_the_last_column_between_words():
    assert shown(Terminal(), 87)[1:3] == [
        f"unknown  O-1001  {ID}     3 h  no answer within 24",
        f"{' ' * 63}hours (R36)",
    ]


def test_columns_that_do_not_fit_are_written_beneath_and_only_if_they_say_something():
    assert shown(Terminal(), 50) == [
        "need     order",
        "unknown  O-1001",
        f"    about {ID}",
        "    since 3 h",
        "    no answer within 24 hours (R36)",
        "failed",
        "    about invoice 17",
        "    since 12 min",
        "    declined: not with us",
    ]


@pytest.mark.parametrize("columns", [1, 20, 80, 200])
def test_an_id_is_never_broken(columns: int):
    orders = ["o" * length for length in (1, 79, 80, 81, 256)]

    lines = shown(Terminal(), columns, rows=[("failed", order, ID, "3 h", f"as {ID}") for order in orders], indent=3)

    for name in (ID, *orders):
        assert any(name in line.split() for line in lines)


def test_a_line_is_wider_than_the_terminal_only_if_it_is_one_word():
    for columns in range(1, 120):
        for line in shown(Terminal(), columns):
            assert len(line) <= columns or len(line.split()) <= 2, line


def test_a_pipe_gets_one_line_for_each_row():
    long = [("unknown", "o" * 300, ID, "3 h", "word " * 200)]

    lines = shown(StringIO(), 80, rows=long)

    assert len(lines) == 2
    assert lines[1] == f"unknown  {'o' * 300}  {ID}    3 h  {('word ' * 200).rstrip()}"


def test_a_style_stays_with_its_cell():
    written = Terminal()
    console = Console(file=written, width=80, force_terminal=True, color_system="standard")

    show_table(console, ("", ""), [(cell("failed", "yellow"), cell("not with us", "red"))])

    assert "\x1b[33mfailed\x1b[0m" in written.getvalue()
    assert "\x1b[31mnot with us\x1b[0m" in written.getvalue()


def test_the_first_rows_are_written_before_the_last_are_drawn():
    class Pipe(StringIO):
        def write(self, text: str) -> int:
            written.append(text)
            return len(text)

    written: list[str] = []

    shown(Pipe(), 80, rows=ROWS * LINES_AT_ONCE)

    assert max(text.count("\n") for text in written) <= LINES_AT_ONCE
    assert "".join(written).count("\n") == 1 + 2 * LINES_AT_ONCE
