"""The help is written for a terminal: it breaks the lines, and brackets have their usual meaning."""

from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from worker.cli import COMMANDS, app

PROGRAM: Any = typer.main.get_command(app)


@pytest.mark.parametrize("name", [None, *COMMANDS])
def test_help_paragraphs_contain_no_line_breaks(name: str | None):
    command = PROGRAM if name is None else PROGRAM.resolve_command(None, [name])[1]

    for each in (command, *getattr(command, "commands", {}).values()):
        assert not [paragraph for paragraph in (each.help or "").split("\n\n") if "\n" in paragraph], each.name


@pytest.mark.parametrize("words", ["commands abandon", "dlq replay", "dlq discard"])
def test_optional_arguments_are_shown_in_one_pair_of_brackets(words: str):
    shown = CliRunner().invoke(app, [*words.split(), "--help"], env={"COLUMNS": "200"}).output

    assert f"{words} [OPTIONS] [ID]" in shown


@pytest.mark.parametrize("words", ["dlq show", "dlq replay", "dlq discard"])
def test_the_help_says_that_a_dead_letter_is_named_by_a_number(words: str):
    shown = CliRunner().invoke(app, [*words.split(), "--help"], env={"COLUMNS": "200"}).output

    assert "<number>" in shown
