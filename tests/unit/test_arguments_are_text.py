"""What is typed is text: bytes that nobody can read are refused with a sentence, before anybody is asked about them."""

import pytest

from worker.cli import main

NOT_UTF8 = b"o\xff1".decode("utf-8", "surrogateescape")
COMMANDS = (
    ("order",), ("commands", "show"), ("commands", "list", "--order"), ("commands", "list", "--merchant"),
    ("dlq", "list", "--order"), ("dlq", "replay", "5", "--dry-run", "--patch"),
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_argument_that_is_not_in_utf_8_is_wrong_usage(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main([*command, NOT_UTF8])

    assert ended.value.code == 2
    assert capsys.readouterr().err == "settlement: o\\udcff1 is not text: it holds bytes that are not UTF-8\n"
