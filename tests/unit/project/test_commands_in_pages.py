"""Every command, option and setting that pages and help texts name exists."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from worker.cli import app
from worker.mistyped import OUR_PREFIXES
from worker.settings import NAMES

PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/*.md", "deploy/*.md", "deploy/**/*.md")
# Settings of the tests, which the program does not read.
OF_THE_TESTS = {"SETTLEMENT_DEEP"}
PROGRAM: Any = typer.main.get_command(app)
# Examples assign settings before the command, as a shell does.
_ASSIGNMENT = re.compile(r"[A-Z_]+=\S*")


def subcommand(group: Any, name: str) -> Any:
    return group.resolve_command(None, [name])[1]


def commands(group: Any = PROGRAM, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with the words that lead to it."""
    if not hasattr(group, "list_commands"):
        yield path, group
        return
    for name in group.list_commands(None):
        yield from commands(subcommand(group, name), (*path, name))


COMMANDS = dict(commands())


def code(page: str) -> Iterator[str]:
    """Inline code and code blocks of a page."""
    fenced = False
    for line in page.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            yield line
        else:
            yield from re.findall(r"`([^`]+)`", line)


def typed(text: str) -> Iterator[list[str]]:
    """The words after each `settlement` in a piece of code."""
    for match in re.finditer(r"(?:^|[\s/(\"])settlement ([a-z-][^`#;&|)\"\n>]*)", text):
        yield match[1].split()


def pages(project: Path) -> Iterator[tuple[str, str]]:
    for pattern in PAGES:
        for file in sorted(project.glob(pattern)):
            yield str(file.relative_to(project)), file.read_text()


def unknown_word(words: list[str]) -> str | None:
    """The first of the words that is neither a command nor an option; None if all exist."""
    at, known = PROGRAM, {"--help", "--install-completion", "--show-completion"}
    for word in words:
        if at.context_settings.get("ignore_unknown_options"):
            return None  # the rest is passed to another program
        if word.startswith("--"):
            options = {name for parameter in at.params for name in parameter.opts} | known
            if word.partition("=")[0] not in options:
                return word
        elif hasattr(at, "list_commands") and word.isascii() and word.replace("-", "").islower():
            if word not in at.list_commands(None):
                return word
            at = subcommand(at, word)
    return None


def test_every_command_and_option_that_a_page_names_exists(project: Path):
    wrong = [
        f"{page}: settlement {' '.join(words)}: {word}"
        for page, text in pages(project) for piece in code(text) for words in typed(piece)
        if (word := unknown_word(words)) is not None
    ]  # fmt: skip

    assert wrong == []
    assert unknown_word(["dlq", "repaly"]) == "repaly", "a command that does not exist is found"
    assert unknown_word(["dlq", "replay", "--dryrun"]) == "--dryrun"


def test_every_setting_of_ours_that_a_page_names_exists(project: Path):
    named = {
        (page, name) for page, text in pages(project) for name in re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", text)
        if name.startswith(OUR_PREFIXES) and name not in OF_THE_TESTS
    }  # fmt: skip

    assert {(page, name) for page, name in named if not {name, name.removesuffix("_FILE")} & NAMES.keys()} == set()
    assert named


@pytest.mark.parametrize("name", PROGRAM.list_commands(None))
def test_the_list_of_commands_shows_the_first_sentence_of_each_help(name: str):
    listed, command = PROGRAM.get_command(None, name), subcommand(PROGRAM, name)

    assert (listed.help, listed.rich_help_panel) == (command.help.split("\n")[0], command.rich_help_panel)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_valid_examples(path: tuple[str, ...]):
    command = COMMANDS[path]

    assert command.help, "no help"
    lines = [line for line in (command.epilog or "").split("\n\n") if "settlement " in line]
    assert lines, "no example"
    for line in lines:
        words = [word for word in shlex.split(line.replace("\\[", "[")) if not _ASSIGNMENT.fullmatch(word)]
        assert words[0] == "settlement"
        assert tuple(words[1 : 1 + len(path)]) == path
        command.make_context(" ".join(path), [word.replace("ID", "17") for word in words[1 + len(path) :]])
