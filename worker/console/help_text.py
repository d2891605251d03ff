"""The text of a command's help, and the examples at its end."""

from inspect import cleandoc

from rich.markup import escape


def examples(*lines: str) -> str:
    """What somebody might type next; a test checks that every line of it can be typed."""
    return "[bold]Examples[/bold]\n\n" + "\n\n".join(escape(line) for line in lines) if lines else ""


def unwrap(text: str) -> str:
    """Its paragraphs, each in one line: typer would break all but the first where the source does."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in cleandoc(text).split("\n\n"))
