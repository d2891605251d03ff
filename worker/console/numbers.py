"""Parses whole numbers more strictly than Python: who typed 1_0 did not mean 10."""

import re
from collections.abc import Callable

import typer


def whole_number(minimum: int, maximum: int) -> Callable[[str], int]:
    """Returns a parser for an option or argument; Python itself would also accept 1_0, +5 and blanks around it."""

    def number(text: str) -> int:  # the help shows this name
        if re.fullmatch("[0-9]{1,20}", text) and minimum <= int(text) <= maximum:
            return int(text)
        raise typer.BadParameter(f"{text!r} is not a whole number from {minimum} to {maximum}, in digits only")

    return number
