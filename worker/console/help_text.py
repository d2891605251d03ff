"""The help of a command: its text, and the examples at its end."""

from inspect import cleandoc

from rich.markup import escape


def examples(*lines: str) -> str:
    """Formats example command lines; a test checks that each can be typed."""
    return "[bold]Examples[/bold]\n\n" + "\n\n".join(escape(line) for line in lines) if lines else ""


def unwrap(text: str) -> str:
    """Puts each paragraph on one line: typer would keep the source's line breaks in all but the first."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in cleandoc(text).split("\n\n"))
