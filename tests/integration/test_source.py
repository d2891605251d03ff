"""A source bounds in memory what it reads ahead, and reads on whatever becomes of its group."""

import asyncio
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import CoordinatorNotAvailableError

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


async def test_a_source_that_is_given_other_partitions_while_nobody_coordinates_its_group_reads_them(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    """aiokafka's consumer died of it as soon as the group's broker was back, and the session with it."""
    coordinated, look_up = asyncio.Event(), AIOKafkaClient.coordinator_lookup

    async def look_up_in_vain(client: AIOKafkaClient, *asked: Any) -> Any:
        if not coordinated.is_set():
            raise CoordinatorNotAvailableError
        return await look_up(client, *asked)

    monkeypatch.setattr(AIOKafkaClient, "coordinator_lookup", look_up_in_vain)
    await topics.create_missing(settings)
    source = Source(settings, "delivery", (names.COMMANDS,), lambda: None)
    await source.start()
    try:
        await source.assign({(names.COMMANDS, 0): 0})
        committing = asyncio.create_task(source.commit({(names.COMMANDS, 0): 0}))
        await source.assign({(names.COMMANDS, 1): 0})
        coordinated.set()
        await committing
        async with Sink(settings) as sink:
            await sink.publish([Outgoing(names.COMMANDS, 1, b"order", b"{}", [])])

        [record] = await until(lambda: source.take(10, 1_000), 20)
        assert record.partition == 1
    finally:
        await source.stop()
