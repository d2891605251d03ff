"""The command line refuses arguments that it would have to guess, before it asks any server."""

import pytest

from worker.cli import main

DECISION = ("--by", "ana", "--reason", "x")
TAKES_TEXT = (
    ("order",), ("commands", "show"), ("commands", "list", "--order"), ("commands", "list", "--merchant"),
    ("dlq", "list", "--order"), ("dlq", "replay", "5", "--dry-run", "--patch"),
)  # fmt: skip
TAKES_NUMBER = (
    ("commands", "resolve", "c-1", "--operation-id", "S-1", *DECISION, "--done"),
    ("commands", "retry", "c-1", *DECISION, "--changes"),
    ("dlq", "show"), ("dlq", "discard", *DECISION), ("dlq", "replay", *DECISION),
)  # fmt: skip
TAKES_AGE = (
    ("dlq", "list"), ("dlq", "replay", "--code", "rejected", *DECISION),
    ("dlq", "discard", "--code", "rejected", *DECISION),
)  # fmt: skip
DECIDES = (
    ("commands", "retry", "c-1"), ("commands", "resolve", "c-1", "--not-done"), ("commands", "abandon", "c-1"),
    ("dlq", "discard", "17"), ("dlq", "replay", "17"),
)  # fmt: skip
NOT_UTF8 = b"o\xff1".decode("utf-8", "surrogateescape")


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Returns what the command prints on standard error as it ends with the exit code of wrong usage."""
    with pytest.raises(SystemExit) as ended:
        main([*arguments])
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("command", TAKES_TEXT, ids=" ".join)
def test_an_argument_that_is_not_utf_8_is_refused(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]):
    assert refusal(capsys, *command, NOT_UTF8) == (
        "settlement: o\\udcff1 is not text: it holds bytes that are not UTF-8\n"
    )


@pytest.mark.parametrize("command", TAKES_NUMBER, ids=lambda command: " ".join(command[:2]))
@pytest.mark.parametrize("text", ["1_0", "+5", " 5", "5\n", "٣", "1e3", "5.", "0x10", "", "9" * 21])
def test_a_number_that_only_python_would_accept_is_refused(
    command: tuple[str, ...], text: str, capsys: pytest.CaptureFixture[str]
):
    message = " ".join(refusal(capsys, *command, text).replace("│", "").split())  # a box, broken between words

    assert "is not a whole number from" in message, message


@pytest.mark.parametrize("text", ["1_0", "1e3", "+5", "-5", "٥", "0x10", "5.", ".5", "1,000", "", "nan", "0", "9" * 20])
def test_an_amount_that_is_not_plain_digits_is_refused(text: str, capsys: pytest.CaptureFixture[str]):
    assert "Invalid value for '--done'" in refusal(
        capsys, "commands", "resolve", "c-1", "--done", text, "--operation-id", "X", "--by", "ana", "--reason", "why"
    )


@pytest.mark.parametrize("command", TAKES_AGE, ids=lambda command: " ".join(command[:2]))
@pytest.mark.parametrize("option", ["--older", "--newer"])
@pytest.mark.parametrize("text", ["", "  ", "7", "-1h", "٣h", "999999w"])
def test_an_age_without_a_number_and_a_unit_is_refused(
    command: tuple[str, ...], option: str, text: str, capsys: pytest.CaptureFixture[str]
):
    """Otherwise the command would act on more dead letters than were meant."""
    assert refusal(capsys, *command, option, text) == (
        f"settlement: {option} takes an age such as 90s, 30min, 2h or 7d, not {text!r}\n"
    )


@pytest.mark.parametrize("command", DECIDES, ids=" ".join)
@pytest.mark.parametrize(("option", "other"), [("--by", "--reason"), ("--reason", "--by")])
@pytest.mark.parametrize("blank", ["", "  ", "\t"])
def test_a_decision_with_a_blank_name_or_reason_is_refused(
    command: tuple[str, ...], option: str, other: str, blank: str, capsys: pytest.CaptureFixture[str]
):
    assert refusal(capsys, *command, option, blank, other, "x") == (
        f"settlement: {option} is blank: it is kept with your decision\n"
    )


@pytest.mark.parametrize(("option", "limit"), [("--by", 256), ("--reason", 1_000), ("--operation-id", 256)])
def test_a_decision_with_a_text_that_is_too_long_is_refused(
    option: str, limit: int, capsys: pytest.CaptureFixture[str]
):
    given = {"--by": "x", "--reason": "x", "--operation-id": "x"} | {option: "x" * (limit + 1)}
    options = [word for pair in given.items() for word in pair]

    assert refusal(capsys, "commands", "resolve", "c-1", "--done", "1", *options) == (
        f"settlement: {option} may have at most {limit} characters, not {limit + 1}\n"
    )


@pytest.mark.parametrize("connectors", ["", "acme,", "acme,,rede"])
def test_an_erp_publishes_nothing_for_a_connector_without_a_name(connectors: str, capsys: pytest.CaptureFixture[str]):
    assert "names separated by commas" in refusal(capsys, "sandbox", "erp", "--connectors", connectors)


def test_a_selection_in_two_ways_is_refused_as_such(capsys: pytest.CaptureFixture[str]):
    assert "say which: their numbers, or a filter" in refusal(capsys, "dlq", "replay", *DECISION)
    assert "say which, in one way only: their numbers" in refusal(capsys, "dlq", "replay", "1", "--all", *DECISION)


@pytest.mark.parametrize("command", [
    ("order",), ("commands", "show"), ("commands", "retry", *DECISION), ("commands", "abandon", *DECISION),
    ("commands", "list", "--order"), ("commands", "list", "--merchant"), ("commands", "list", "--connector"),
    ("commands", "abandon", *DECISION, "--order", "o", "--invoice"), ("commands", "retry", *DECISION, "--code"),
    ("dlq", "list", "--order"), ("dlq", "list", "--merchant"),
], ids=" ".join)  # fmt: skip
def test_the_content_of_an_unset_variable_selects_nothing_and_is_refused(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
):
    named = command[-1] if command[-1].startswith("--") else "ID"

    assert refusal(capsys, *command, "") == f"settlement: {named} is empty\n"
