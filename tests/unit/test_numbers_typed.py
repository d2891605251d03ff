"""Nobody decides about another amount, or another dead letter, than the one that everybody reads in what was typed."""

import pytest

from worker.cli import main

PERSON = ("--by", "ana", "--reason", "x")
TAKING = (
    ("commands", "resolve", "c-1", "--operation-id", "S-1", *PERSON, "--done"),
    ("commands", "retry", "c-1", *PERSON, "--changes"),
    ("dlq", "show"), ("dlq", "discard", *PERSON), ("dlq", "replay", *PERSON),
)  # fmt: skip


@pytest.mark.parametrize("command", TAKING, ids=lambda one: " ".join(one[:2]))
@pytest.mark.parametrize("text", ["1_0", "+5", " 5", "5\n", "٣", "1e3", "5.", "0x10", "", "9" * 21])
def test_what_only_python_takes_for_a_number_is_wrong_usage(
    command: tuple[str, ...], text: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as ended:
        main([*command, text])

    assert ended.value.code == 2
    told = " ".join(capsys.readouterr().err.replace("│", "").split())  # a box that is broken between words
    assert "is not a whole number from" in told, told
