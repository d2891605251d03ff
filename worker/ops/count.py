"""How often something happened in one minute, counted so that no repeat counts twice: pure.

A count knows up to which offset of each partition it counted, so what is read again after a kill is not counted again.
"""

from collections.abc import Iterable

from msgspec import Struct, field


class Count(Struct, frozen=True, array_like=True, gc=False):
    """What happened, of one name, all of it told by one topic."""

    number: int = 0
    seen: dict[int, int] = field(default_factory=dict)
    """Partition → the offset of the last record that was counted."""


class News(Struct, frozen=True, array_like=True, gc=False):
    """What one record adds."""

    partition: int
    offset: int
    number: int


def counted(count: Count, news: Iterable[News]) -> Count:
    """The count after these records, in their order."""
    number, seen = count.number, dict(count.seen)
    for one in news:
        if one.offset > seen.get(one.partition, -1):
            number, seen[one.partition] = number + one.number, one.offset
    return Count(number, seen)
