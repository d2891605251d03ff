"""Reads the records between two offsets, once and in order, without a consumer group or stored positions."""

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
# A partition without a leader is waited for, but the caller does nothing else meanwhile.
SILENT_SECONDS_MAX = 30.0


async def read_between(settings: Settings, ranges: Mapping[Place, tuple[int, int]]) -> AsyncIterator[list[Record]]:
    """Yields every record from the first offset of each range up to, but not including, the second, page by page.

    Not every offset has a record (compaction, transactions), so a range ends once the position has passed it. It reads
    uncommitted: our own records use no transactions, and nothing is decided from what is read here.
    """
    places = {TopicPartition(settings.topic(place[0]), place[1]): place for place in ranges}
    ends = {partition: ranges[place][1] for partition, place in places.items() if ranges[place][0] < ranges[place][1]}
    if not ends:
        return
    options = {"enable_auto_commit": False, "auto_offset_reset": "none", "fetch_max_wait_ms": FETCH_WAIT_MS}
    async with consumer(settings, isolation_level="read_uncommitted", **options) as reading:
        reading.assign(list(ends))
        for partition in ends:
            reading.seek(partition, ranges[places[partition]][0])
        advanced_at = time.monotonic()
        while ends:
            fetched = await reading.getmany(*ends, timeout_ms=2 * FETCH_WAIT_MS, max_records=PAGE_RECORDS_MAX)
            page = [
                to_record(places[partition][0], record)
                for partition, records in fetched.items()
                for record in records
                if record.offset < ends[partition]
            ]
            if page:
                yield page
            before, ends = ends, {partition: end for partition, end in ends.items()
                                  if await reading.position(partition) < end}  # fmt: skip
            if fetched or ends != before:
                advanced_at = time.monotonic()
            elif time.monotonic() > advanced_at + SILENT_SECONDS_MAX:
                missing = ", ".join(f"{partition.topic} partition {partition.partition}" for partition in ends)
                raise RequestTimedOutError(f"no broker sent the last records of {missing}")
