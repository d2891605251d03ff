"""What a recovery took back, what it could not take back, and its progress."""

from collections import Counter
from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with the number of records read, and the number of offsets to read."""


class Summary(Counter[str]):
    """How many of each kind came back, and warnings about what did not."""

    def __init__(self) -> None:
        super().__init__()
        self.warnings: list[str] = []
