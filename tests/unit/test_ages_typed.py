"""An age that says nothing means no more dead letters than one that says something: it is refused."""

import pytest

from worker.cli import main

PERSON = ("--by", "ana", "--reason", "x")
FILTERED = (
    ("dlq", "list"), ("dlq", "replay", "--code", "rejected", *PERSON), ("dlq", "discard", "--code", "rejected", *PERSON)
)  # fmt: skip


@pytest.mark.parametrize("command", FILTERED, ids=lambda one: " ".join(one[:2]))
@pytest.mark.parametrize("option", ["--older", "--newer"])
@pytest.mark.parametrize("text", ["", "  ", "7", "-1h", "٣h", "999999w"])
def test_what_is_no_age_is_wrong_usage(
    command: tuple[str, ...], option: str, text: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as ended:
        main([*command, option, text])

    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        f"settlement: {option} takes an age such as 90s, 30min, 2h or 7d, not {text!r}\n"
    )
