"""Records are packed into Kafka's batches: in order, bounded, and completed by the sender."""

import asyncio
import os
import time
from typing import Any

import pytest
from aiokafka.record.default_records import DefaultRecordBatch

from worker.kafka import names, packing
from worker.kafka.packing import Batch, Packer, join_small, pack, unpack
from worker.kafka.records import Outgoing
from worker.kafka.sink import Ack, Sink
from worker.settings import load

HEADERS = [("ce_id", b"order/1"), ("x", None), ("x", b"")]


def record(value: bytes = b"{}", topic: str = names.ORDERS, partition: int = 3) -> Outgoing:
    return Outgoing(topic, partition, b"order", value, HEADERS)


def numbered(numbers: range) -> list[Outgoing]:
    return [record(b"%d" % number) for number in numbers]


def test_each_partition_gets_its_records_in_order():
    records = [record(b"%d" % number, topic, partition)
               for number in range(5) for topic in (names.ORDERS, names.EVENTS) for partition in (0, 1)]  # fmt: skip

    batches = pack(records)

    assert len(batches) == 4
    for batch in batches:
        assert unpack([batch]) == [record for record in records if record.place == batch.place]
        assert batch.record_count() == 5


def test_a_full_batch_is_followed_by_another_and_an_oversized_record_has_its_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(packing, "BATCH_BYTES_MAX", 1_000)
    records = [record(os.urandom(size)) for size in (300, 300, 300, 5_000, 300)]

    batches = pack(records)

    assert [batch.record_count() for batch in batches] == [2, 1, 1, 1]
    assert unpack(batches) == records


def test_a_compressed_batch_is_smaller_and_has_the_same_records():
    plain, compressed = Packer(), Packer(compressed=True)
    for each in numbered(range(100)):
        plain.add(each)
        compressed.add(each)

    [uncompressed], [packed] = plain.batches(), compressed.batches()

    assert packed.size() < uncompressed.size() / 2
    assert unpack([packed]) == unpack([uncompressed]) == numbered(range(100))


def test_truncating_removes_the_last_records_and_the_next_record_begins_a_batch():
    packed = Packer()
    packed.add(record(b"stays"))
    before = len(packed.batches())
    packed.add(record(b"goes"))
    packed.batches()
    packed.add(record(b"goes too"))

    packed.truncate(before)

    packed.add(record(b"comes after"))
    assert [one.value for one in unpack(packed.batches())] == [b"stays", b"comes after"]


def test_small_batches_of_one_partition_are_joined():
    waiting = [batch for one in numbered(range(20)) for batch in pack([one])]

    [batch] = join_small(waiting)

    assert unpack([batch]) == numbered(range(20))


def test_a_large_batch_is_not_joined_and_keeps_its_place():
    large = record(os.urandom(packing.JOINED_BYTES_MAX))
    [first], [second], [third], [fourth] = (pack([one]) for one in (record(b"1"), record(b"2"), large, record(b"3")))

    batches = join_small([first, second, third, fourth])

    assert batches[1] is third
    assert batches[2] is fourth
    assert [one.value for one in unpack(batches)] == [b"1", b"2", large.value, b"3"]


def test_the_sender_adds_its_producer_state_and_the_time_to_a_batch():
    [batch] = pack(numbered(range(3)))
    before = time.time_ns() // 1_000_000

    batch._set_producer_state(producer_id=4711, producer_epoch=2, base_sequence=30)

    sent = DefaultRecordBatch(bytes(batch._build()))
    assert sent.validate_crc()
    assert (sent.producer_id, sent.producer_epoch, sent.base_sequence) == (4711, 2, 30)
    assert unpack([batch]) == numbered(range(3))
    assert {before <= one.timestamp <= time.time_ns() // 1_000_000 for one in sent} == {True}


async def test_batches_of_different_partitions_are_sent_in_turn():
    sent: list[Batch] = []

    class Producer:
        async def send_batch(self, batch: Batch, _topic: str, *, partition: int) -> Ack:
            assert partition == batch.place[1]
            sent.append(batch)
            return asyncio.get_running_loop().create_future()

    sink: Any = Sink(load({}))
    sink._producer = Producer()
    large = [record(os.urandom(packing.JOINED_BYTES_MAX), partition=0) for _ in range(3)]
    small = record(b"{}", partition=1)

    await sink.queue([batch for one in [*large, small] for batch in pack([one])])

    assert [batch.place[1] for batch in sent] == [0, 1, 0, 0]
    assert [one for one in unpack(sent) if one.partition == 0] == large
