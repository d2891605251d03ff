"""Characters that a terminal would obey or not show are escaped, and all others are unchanged."""

import pytest

from tests.hostile import HOSTILE
from worker.console.screen import plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x9b2J", "\\x9b2J"),
        ("\u202ecod", "\\u202ecod"),
        ("a\u200bb", "a\\u200bb"),
        ("\U000e0041", "\\U000e0041"),
        ("[red]x[/red]", "[red]x[/red]"),
        ("São Paulo, 東京, שלום", "São Paulo, 東京, שלום"),
        ("e\u0301", "e\u0301"),
        ("", ""),
    ],
)
def test_text_is_shown_unchanged_or_escaped(text: str, shown: str):
    assert plain(text) == shown


def test_combining_marks_above_three_are_escaped():
    assert plain("a" + "\u0301" * 5) == "a" + "\u0301" * 3 + "\\u0301\\u0301"


def test_none_of_fifty_hostile_strings_keeps_a_control_character():
    assert len(HOSTILE) == 50
    assert all(text.isprintable() for text in map(plain, HOSTILE))
