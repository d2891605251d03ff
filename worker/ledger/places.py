"""Records that are read again: most have their fate already, and some are where another record used to be.

A topic that was made anew, or that lost what it had acknowledged, uses its offsets again. What is there now is not a
repeat of what the ledger knows by that offset: it gets a place of its own, below all offsets.
"""

from collections.abc import Callable, Iterable

from msgspec import Struct
from msgspec.structs import replace

from worker.kafka.envelope import Unreadable
from worker.kafka.records import Place, Record
from worker.ledger.reading import Readable, read_fact
from worker.ledger.tables import LedgerTables


class Placed(Struct, frozen=True, gc=False):
    """A record in its place."""

    record: Record
    says: Readable | Unreadable
    known: bool
    """Whether it has its fate already."""


async def placed(
    tables: LedgerTables, records: Iterable[Record], is_read_again: Callable[[Record], bool]
) -> list[Placed]:
    """The records, in their order; the books are asked only about those that are read again."""
    found = [Placed(record, read_fact(record), False) for record in records]
    again = [(one.record, one.says) for one in found if is_read_again(one.record)]
    if not again:
        return found
    known = await tables.known_places(again)
    lowest: dict[Place, int] = {}
    for number, one in enumerate(found):
        record = one.record
        if (same := known.get(record.origin)) is None:
            continue
        if not same:
            if record.place not in lowest:
                lowest[record.place] = await tables.lowest_place(record.place)
            lowest[record.place] -= 1
            record = replace(record, offset=lowest[record.place])
        found[number] = Placed(record, one.says, same)
    return found
