"""Reads what topics hold between two offsets: once, in order, without a group and without stored positions."""

import time
from collections.abc import AsyncIterator, Mapping

from aiokafka import TopicPartition
from aiokafka.errors import RequestTimedOutError

from worker.kafka.connecting import consumer
from worker.kafka.records import Place, Record
from worker.kafka.source import to_record
from worker.settings import Settings

PAGE_RECORDS_MAX = 2_000
FETCH_WAIT_MS = 500
# A partition without a leader is waited for, but who waits here does nothing else.
SILENT_SECONDS_MAX = 30.0


async def read_between(settings: Settings, ranges: Mapping[Place, tuple[int, int]]) -> AsyncIterator[list[Record]]:
    """Every record from the first offset of a range up to but not including its second, page by page.

    Not every offset has a record (compaction, transactions), so a range ends once the position has passed it. No
    transaction is waited for: our own records use none, and nothing is decided from what is read here.
    """
    places = {TopicPartition(settings.topic(place[0]), place[1]): place for place in ranges}
    left = {one: ranges[place][1] for one, place in places.items() if ranges[place][0] < ranges[place][1]}
    if not left:
        return
    options = {"enable_auto_commit": False, "auto_offset_reset": "none", "fetch_max_wait_ms": FETCH_WAIT_MS}
    async with consumer(settings, isolation_level="read_uncommitted", **options) as reading:
        reading.assign(list(left))
        for one in left:
            reading.seek(one, ranges[places[one]][0])
        moved_at = time.monotonic()
        while left:
            found = await reading.getmany(*left, timeout_ms=2 * FETCH_WAIT_MS, max_records=PAGE_RECORDS_MAX)
            page = [
                to_record(places[one][0], record)
                for one, records in found.items()
                for record in records
                if record.offset < left[one]
            ]
            if page:
                yield page
            before, left = left, {one: end for one, end in left.items() if await reading.position(one) < end}
            if found or left != before:
                moved_at = time.monotonic()
            elif time.monotonic() > moved_at + SILENT_SECONDS_MAX:
                missing = ", ".join(f"{one.topic} partition {one.partition}" for one in left)
                raise RequestTimedOutError(f"no broker says what stands at the end of {missing}")
