"""A whole number as everybody reads it: who typed 1_0 did not mean 10."""

import re
from collections.abc import Callable

import typer


def whole(least: int, most: int) -> Callable[[str], int]:
    """How an option or an argument is read; Python's own idea of a number is wider: 1_0, +5, blanks around it."""

    def read(text: str) -> int:
        if re.fullmatch("[0-9]{1,20}", text) and least <= int(text) <= most:
            return int(text)
        raise typer.BadParameter(f"{text!r} is not a whole number from {least} to {most}, in digits only")

    return read
