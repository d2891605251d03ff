"""The examples at the end of a command's help."""

from rich.markup import escape


def examples(*lines: str) -> str:
    """What somebody might type next; a test checks that every line of it can be typed."""
    return "[bold]Examples[/bold]\n\n" + "\n\n".join(escape(line) for line in lines) if lines else ""
