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


@pytest.mark.parametrize(("option", "limit"), [("--by", 256), ("--reason", 1_000), ("--operation-id", 256)])
def test_what_is_too_long_to_be_kept_is_wrong_usage(option: str, limit: int, capsys: pytest.CaptureFixture[str]):
    given = {"--by": "x", "--reason": "x", "--operation-id": "x"} | {option: "x" * (limit + 1)}

    with pytest.raises(SystemExit) as ended:
        main(["commands", "resolve", "c-1", "--done", "1", *(word for pair in given.items() for word in pair)])

    assert ended.value.code == 2
    assert capsys.readouterr().err == f"settlement: {option} may have at most {limit} characters, not {limit + 1}\n"
