"""How often something happened in one minute, counted so that a repeated record is not counted twice: pure functions.

A count remembers, per partition, the offset up to which it has counted: records that are read again after a kill are
skipped.
"""

from collections.abc import Iterable

from msgspec import Struct, field


class Count(Struct, frozen=True, array_like=True, gc=False):
    """The count of one name. All records that add to it come from one topic, as `seen` keys offsets by partition."""

    number: int = 0
    seen: dict[int, int] = field(default_factory=dict)
    """Partition → offset of the last record that was counted."""


class Increment(Struct, frozen=True, array_like=True, gc=False):
    """What one record adds to a count."""

    partition: int
    offset: int
    number: int


def add_increments(count: Count, increments: Iterable[Increment]) -> Count:
    """Returns the count after these increments, which come in the order of their offsets."""
    number, seen = count.number, dict(count.seen)
    for one in increments:
        if one.offset > seen.get(one.partition, -1):
            number, seen[one.partition] = number + one.number, one.offset
    return Count(number, seen)
