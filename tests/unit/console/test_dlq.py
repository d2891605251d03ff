"""A dead letter is a message that could not be read: people look at it and decide about it all the same."""

import pytest

from worker.console import dlq
from worker.ops import needs
from worker.ops.acting import _amount_in

DEEP = (b"[" * 100_000, b'{"data":' * 100_000 + b"1" + b"}" * 100_000)


@pytest.mark.parametrize("value", DEEP, ids=("unfinished", "whole"))
def test_brackets_in_brackets_without_end_are_shown_as_they_came_and_carry_no_amount(value: bytes):
    shown = value[:4_000].decode()

    assert dlq._readable(value).startswith(shown)
    assert str(needs.readable(value)).startswith(shown)
    assert _amount_in(value) == (None, None)
