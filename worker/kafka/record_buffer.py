"""Fetched records that wait for the next cycle, bounded in number and bytes."""

import asyncio
from collections import deque
from collections.abc import Sequence

from worker.kafka.records import Place, Record

# aiokafka's own buffer comes on top.
BUFFERED_RECORDS_MAX = 4_000
BUFFERED_BYTES_MAX = 16 << 20
PAGE_RECORDS_FIRST = 100
PAGE_BYTES_MAX = 4 << 20


class RecordBuffer:
    """A queue in the order of arrival. One page may exceed the bounds, so pages are kept small."""

    def __init__(self) -> None:
        self._records: deque[Record] = deque()
        self._bytes = 0
        self._room = asyncio.Event()
        self.page_records = PAGE_RECORDS_FIRST
        """How many records to fetch at once; follows their size, since a batch may inflate to many times its bytes."""

    def __len__(self) -> int:
        return len(self._records)

    def places(self) -> set[Place]:
        """The partitions of which records are buffered."""
        return {record.place for record in self._records}

    def clear(self) -> None:
        """Drops all records."""
        self._records.clear()
        self._bytes = 0

    def add(self, page: Sequence[Record]) -> None:
        """Appends a page."""
        size = sum(len(record.value or b"") for record in page)
        self._records.extend(page)
        self._bytes += size
        fit = PAGE_BYTES_MAX * len(page) // max(1, size)
        self.page_records = max(1, min(fit, 2 * self.page_records, BUFFERED_RECORDS_MAX))

    def take(self, records_max: int, bytes_max: int) -> list[Record]:
        """Removes the oldest records up to these bounds; the first one always, whatever its size."""
        taken: list[Record] = []
        taken_bytes = 0
        while self._records and len(taken) < records_max:
            size = len(self._records[0].value or b"")
            if taken and taken_bytes + size > bytes_max:
                break
            taken.append(self._records.popleft())
            taken_bytes += size
        self._bytes -= taken_bytes
        self._room.set()
        return taken

    async def wait_for_room(self) -> None:
        """Returns once the buffer is below its bounds."""
        while len(self._records) >= BUFFERED_RECORDS_MAX or self._bytes >= BUFFERED_BYTES_MAX:
            self._room.clear()
            await self._room.wait()
