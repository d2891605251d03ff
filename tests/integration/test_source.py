"""What is read ahead of the cycles is bounded, however small it was on its way."""

import pytest

from tests.until import until
from worker.kafka import names, record_buffer, topics
from worker.kafka.records import Outgoing
from worker.kafka.sink import Sink
from worker.kafka.source import Source
from worker.settings import Settings, load
from worker.stack import StackEnv


@pytest.fixture
def settings(stack: StackEnv, topic_prefix: str) -> Settings:
    return load(stack.as_settings() | {"TOPIC_PREFIX": topic_prefix, "TOPIC_PARTITIONS": "3"})


async def test_records_that_inflate_to_more_than_memory_should_hold_are_read_a_few_at_a_time(settings: Settings):
    records, size = 600, 100_000
    await topics.create_missing(settings)
    async with Sink(settings) as sink:
        await sink.publish(Outgoing(names.COMMANDS, n % 3, b"order", b"x" * size, []) for n in range(records))
    reading = Source(settings, "delivery", (names.COMMANDS,), lambda: None)
    await reading.start()
    await reading.assign({(names.COMMANDS, partition): 0 for partition in range(3)})
    waited: list[int] = []

    try:
        while sum(waited) < records * size:
            await until(reading.has_records, 30)
            waited.append(sum(len(one.value or b"") for one in reading.take(records, records * size)))
    finally:
        await reading.stop()

    assert max(waited) < record_buffer.BUFFERED_BYTES_MAX + record_buffer.PAGE_RECORDS_FIRST * size
    assert sum(waited) == records * size
