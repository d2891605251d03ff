"""The summary of an audit counts in words."""

import pytest

from worker.console.books import _count


@pytest.mark.parametrize(("plural", "count", "words"), [
    ("orders", 1, "1 order"), ("entries", 1, "1 entry"), ("entries", 12_000, "12,000 entries"),
])  # fmt: skip
def test_counts_have_the_right_singular_and_plural(plural: str, count: int, words: str):
    assert _count(plural, count) == words
