"""Whoever decides gives a name and a reason; nothing is asked of a database before both say something."""

import pytest

from worker.cli import main

DECIDING = (
    ("commands", "retry", "c-1"), ("commands", "resolve", "c-1", "--not-done"), ("commands", "abandon", "c-1"),
    ("dlq", "discard", "17"), ("dlq", "replay", "17"),
)  # fmt: skip


@pytest.mark.parametrize("command", DECIDING, ids=" ".join)
@pytest.mark.parametrize(("option", "other"), [("--by", "--reason"), ("--reason", "--by")])
@pytest.mark.parametrize("blank", ["", "  ", "\t"])
def test_a_name_or_a_reason_of_blanks_is_wrong_usage(
    command: tuple[str, ...], option: str, other: str, blank: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as ended:
        main([*command, option, blank, other, "x"])

    assert ended.value.code == 2
    assert capsys.readouterr().err == f"settlement: {option} is blank: it is kept with your decision\n"
