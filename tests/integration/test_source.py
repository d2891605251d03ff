"""The records that a source reads ahead are bounded in memory, even if they were compressed."""

from tests.until import until
from worker.kafka import names, record_buffer, topics
from worker.kafka.records import Outgoing
from worker.kafka.sink import Sink
from worker.kafka.source import Source
from worker.settings import Settings


async def test_compressed_records_are_read_in_portions_that_fit_the_memory_limit(settings: Settings):
    records, size = 600, 100_000
    await topics.create_missing(settings)
    async with Sink(settings) as sink:
        await sink.publish(Outgoing(names.COMMANDS, n % 3, b"order", b"x" * size, []) for n in range(records))
    source = Source(settings, "delivery", (names.COMMANDS,), lambda: None)
    await source.start()
    await source.assign({(names.COMMANDS, partition): 0 for partition in range(3)})
    portions: list[int] = []

    try:
        while sum(portions) < records * size:
            await until(source.has_records, 30)
            portions.append(sum(len(record.value or b"") for record in source.take(records, records * size)))
    finally:
        await source.stop()

    assert max(portions) < record_buffer.BUFFERED_BYTES_MAX + record_buffer.PAGE_RECORDS_FIRST * size
    assert sum(portions) == records * size
