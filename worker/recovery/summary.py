"""What a recovery took back, by kind, what it could not, and how it says where it is."""

from collections import Counter
from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Told how many records were read, of how many offsets."""


class Summary(Counter[str]):
    """How much of which kind came back."""

    def __init__(self) -> None:
        super().__init__()
        self.warnings: list[str] = []
