"""What a recovery took back, by kind, and how it says where it is."""

from collections import Counter
from collections.abc import Callable

Summary = Counter[str]
Progress = Callable[[int, int], None]
"""Told how many records were read, of how many offsets."""
