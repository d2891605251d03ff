"""Gives records that are read again the place by which the ledger knows them.

Most of them have their fate already. But a topic that was recreated, or that lost acknowledged records, uses its
offsets again: a new record at a known offset is no repeat, and gets a place of its own, below all offsets.
"""

from collections.abc import Callable, Iterable

from msgspec import Struct
from msgspec.structs import replace

from worker.kafka.envelope import Unreadable
from worker.kafka.records import Place, Record
from worker.ledger.reading import Readable, read_fact
from worker.ledger.tables import LedgerTables


class PlacedRecord(Struct, frozen=True, gc=False):
    """A record with the place by which the ledger knows it, and its content."""

    record: Record
    content: Readable | Unreadable
    known: bool
    """Whether it has its fate already."""


async def assign_places(
    tables: LedgerTables, records: Iterable[Record], is_read_again: Callable[[Record], bool]
) -> list[PlacedRecord]:
    """The records, in their order; only those that are read again are looked up in the tables."""
    placed = [PlacedRecord(record, read_fact(record), False) for record in records]
    again = [(one.record, one.content) for one in placed if is_read_again(one.record)]
    if not again:
        return placed
    known = await tables.known_places(again)
    lowest: dict[Place, int] = {}
    for index, one in enumerate(placed):
        record = one.record
        if (same := known.get(record.origin)) is None:
            continue
        if not same:
            if record.place not in lowest:
                lowest[record.place] = await tables.lowest_place(record.place)
            lowest[record.place] -= 1
            record = replace(record, offset=lowest[record.place])
        placed[index] = PlacedRecord(record, one.content, same)
    return placed
