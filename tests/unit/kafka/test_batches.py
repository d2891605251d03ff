"""The bytes of a fetch response are read to the last record, or the offsets that cannot be read are named."""

import pytest
from aiokafka import TopicPartition
from aiokafka.codec import gzip_encode, lz4_encode, zstd_encode
from aiokafka.errors import CorruptRecordException
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder

from tests.batches import CODECS, MADE_MS, Handmade, batch
from worker.kafka.batches import Batches, TolerantRecords, UnreadableBatchError
from worker.kafka.inflating import INFLATED_BYTES_MAX, InflatesTooFarError, inflate_gzip, inflate_lz4, inflate_zstd
from worker.kafka.records import UNKNOWN_EPOCH

READ_COMMITTED = 1
INFLATE = {"gzip": (gzip_encode, inflate_gzip), "lz4": (lz4_encode, inflate_lz4), "zstd": (zstd_encode, inflate_zstd)}


def _read(content: bytes, offset: int = 0) -> TolerantRecords:
    return TolerantRecords(
        TopicPartition("invoices", 4), Batches(content), [], offset, None, None, True, READ_COMMITTED
    )  # fmt: skip


def _named(name: bytes, value: bytes = b"{}") -> Handmade:
    return Handmade(b"order-1", value, [(name, b"1")])


GOOD, MALFORMED = _named(b"good"), _named(b"\xff")


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("first", range(7))
def test_reading_may_begin_at_any_offset(codec: str, first: int):
    """Records with malformed headers in both batches, also first and last."""
    earlier, later = (
        batch([MALFORMED, GOOD, MALFORMED], codec),
        batch([GOOD, MALFORMED, GOOD, MALFORMED], codec, base_offset=3),
    )

    records = _read(earlier + later if first < 3 else later, first)  # a broker begins with the batch of the offset

    assert [record.offset for record in records] == list(range(first, 7))
    assert records.next_fetch_offset == 7


def test_many_batches_with_malformed_headers_are_read_at_once():
    content = b"".join(batch([MALFORMED], base_offset=offset) for offset in range(3_000))

    assert [record.offset for record in _read(content)] == list(range(3_000))


@pytest.mark.parametrize("content", [GOOD, MALFORMED])
def test_each_record_has_the_leader_epoch_of_its_batch(content: Handmade):
    batches = batch([content] * 2, leader_epoch=3) + batch([content], base_offset=2, leader_epoch=5)

    assert [record.leader_epoch for record in _read(batches)] == [3, 3, 5]


def test_a_record_of_the_older_format_has_no_leader_epoch():
    """It has a checksum in the place of the leader epoch."""
    older = LegacyRecordBatchBuilder(magic=1, compression_type=0, batch_size=1_000)
    older.append(0, timestamp=MADE_MS, key=b"order-1", value=b"{}")

    assert [record.leader_epoch for record in _read(bytes(older.build()))] == [UNKNOWN_EPOCH]


def test_a_batch_with_a_wrong_checksum_is_an_error():
    content = bytearray(batch([MALFORMED, GOOD]))
    content[-1] ^= 1

    with pytest.raises(CorruptRecordException, match="CRC"):
        next(_read(bytes(content)))


def test_the_records_before_a_damaged_batch_are_read_first():
    damaged = bytearray(batch([GOOD], base_offset=2))
    damaged[-1] ^= 1

    records = _read(batch([GOOD, MALFORMED]) + bytes(damaged) + batch([GOOD], base_offset=3))

    assert [record.offset for record in records] == [0, 1]
    assert records.next_fetch_offset == 2
    with pytest.raises(CorruptRecordException):
        next(_read(bytes(damaged), records.next_fetch_offset))


def test_a_truncated_record_ends_the_reading_and_names_its_offsets():
    content = batch([GOOD], base_offset=5, cut_bytes=3)

    with pytest.raises(UnreadableBatchError, match="invoices partition 4: the batch of offsets 5 to 5 cannot be read"):
        next(_read(content, 5))


@pytest.mark.parametrize("codec", INFLATE)
def test_decompression_is_limited(codec: str):
    deflate, inflate = INFLATE[codec]
    largest = bytes(INFLATED_BYTES_MAX)

    assert inflate(deflate(largest)) == largest
    with pytest.raises(InflatesTooFarError, match="67,108,864 bytes"):
        inflate(deflate(largest + b"\0"))


@pytest.mark.parametrize("codec", INFLATE)
def test_a_batch_that_inflates_too_far_is_reported_after_the_records_before_it(codec: str):
    oversized = batch([_named(b"wide", bytes(INFLATED_BYTES_MAX))], codec, base_offset=1)

    before = _read(batch([GOOD]) + oversized)

    assert [record.offset for record in before] == [0]
    with pytest.raises(UnreadableBatchError, match=r"offsets 1 to 1 cannot be read \(it inflates to more than"):
        next(_read(oversized, before.next_fetch_offset))
