"""An amount that a person types is what they see, on the command line and on a page; nothing else is taken for one."""

import pytest

from worker.cli import main
from worker.domain.money import MAX_MINOR
from worker.ops.acting import to_minor
from worker.people.acting import Refused

STRANGE = ("1_0", "1e3", "+5", "-5", "٥", "0x10", "5.", ".5", "1,000", "", "nan", "0", "9" * 20)


@pytest.mark.parametrize("text", STRANGE)
def test_what_is_no_amount_in_digits_is_refused_on_the_command_line(text: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main(["commands", "resolve", "c-1", "--done", text, "--operation-id", "X", "--by", "ana", "--reason", "why"])

    assert ended.value.code == 2
    assert "Invalid value for '--done'" in capsys.readouterr().err


@pytest.mark.parametrize("text", [*STRANGE, "5.001", "60.000000000000000000000000000001"])
def test_what_is_no_amount_in_digits_is_refused_on_a_page(text: str):
    with pytest.raises(Refused, match="the value must be"):
        to_minor(text, "BRL")


@pytest.mark.parametrize(("text", "currency", "minor"), [
    ("60", "BRL", 6_000), (" 60.5 ", "BRL", 6_050), ("60.050", "BRL", 6_005), ("0.01", "BRL", 1), ("5", "JPY", 5),
    ("5.0", "JPY", 5), ("1.234", "BHD", 1_234), ("90071992547409.91", "BRL", MAX_MINOR),
])  # fmt: skip
def test_an_amount_is_read_to_the_last_digit(text: str, currency: str, minor: int):
    assert to_minor(text, currency) == minor
