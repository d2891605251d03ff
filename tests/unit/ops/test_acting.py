"""An amount that an operator types on a page is read exactly, or refused."""

import pytest

from worker.domain.money import MAX_MINOR
from worker.ops.acting import _amount_in, to_minor
from worker.people.acting import Refused


@pytest.mark.parametrize("text", [
    "1_0", "1e3", "+5", "-5", "٥", "0x10", "5.", ".5", "1,000", "", "nan", "0", "9" * 20, "5.001",
    "60.000000000000000000000000000001", "-1", "60.505", "1e3x", "NaN", "Infinity", "60,50", "9" * 30, "６０x",
])  # fmt: skip
def test_an_amount_that_is_not_exact_is_refused(text: str):
    with pytest.raises(Refused, match="the value must be"):
        to_minor(text, "BRL")


@pytest.mark.parametrize(("text", "currency", "minor"), [
    ("60", "BRL", 6_000), (" 60.5 ", "BRL", 6_050), ("60.050", "BRL", 6_005), ("0.01", "BRL", 1), ("5", "JPY", 5),
    ("5.0", "JPY", 5), ("1.234", "BHD", 1_234), ("90071992547409.91", "BRL", MAX_MINOR),
])  # fmt: skip
def test_an_amount_is_read_to_the_last_digit(text: str, currency: str, minor: int):
    assert to_minor(text, currency) == minor


def test_a_deeply_nested_dead_letter_has_no_amount():
    assert _amount_in(b'{"data":' * 100_000 + b"1" + b"}" * 100_000) == (None, None)
