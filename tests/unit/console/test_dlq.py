"""A dead letter that cannot be parsed is still shown to the operator."""

import pytest

from worker.console import dlq
from worker.ops import needs
from worker.ops.acting import _amount_in

DEEP = (b"[" * 100_000, b'{"data":' * 100_000 + b"1" + b"}" * 100_000)


@pytest.mark.parametrize("value", DEEP, ids=("unfinished", "whole"))
def test_a_deeply_nested_dead_letter_is_shown_unchanged_and_has_no_amount(value: bytes):
    shown = value[:4_000].decode()

    assert dlq._readable(value).startswith(shown)
    assert str(needs.readable(value)).startswith(shown)
    assert _amount_in(value) == (None, None)
