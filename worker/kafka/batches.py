"""Parses batches on which aiokafka's compiled parser fails: brokers accept more than that parser does.

Such a batch is parsed again in Python, record by record: a header's name may be any bytes, and so may the attributes
that Kafka does not use yet. If that fails too, reading ends.
"""

import sys
from collections.abc import Iterator
from struct import Struct
from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record import default_records
from aiokafka.record.default_records import DefaultRecord, DefaultRecordBatch, _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import decode_varint_py
from aiokafka.structs import ConsumerRecord

from worker.kafka.inflating import inflate_gzip, inflate_lz4, inflate_zstd
from worker.kafka.records import UNKNOWN_EPOCH

# The head of a batch: its first offset, the length of all that follows these two fields, leader epoch, format.
_HEAD = Struct(">qiib")
_LENGTH_COUNTED_FROM = 12
_FORMAT_WITH_EPOCHS = 2


class UnreadableBatchError(Exception):
    """Neither parser can read a batch; it is not skipped."""

    def __init__(self, topic: str, partition: int, first: int, end: int, problem: Exception) -> None:
        super().__init__(
            f"{topic} partition {partition}: the batch of offsets {first} to {end - 1} cannot be read "
            f"({str(problem) or type(problem).__name__}); nothing is skipped: what comes after it waits"
        )


class Batches(MemoryRecords):  # type: ignore[misc]
    """The batches of one partition in a fetch response; keeps the bytes and the leader epoch of the latest one."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self._content = content
        self._begin = self._end = 0
        self.leader_epoch = UNKNOWN_EPOCH
        """Of the leader that took the latest batch."""

    def next_batch(self) -> Any:
        """The next batch, for the compiled parser."""
        _, length, epoch, batch_format = _HEAD.unpack_from(self._content, self._end)
        self._begin, self._end = self._end, self._end + _LENGTH_COUNTED_FROM + length
        self.leader_epoch = epoch if batch_format >= _FORMAT_WITH_EPOCHS else UNKNOWN_EPOCH
        return super().next_batch()

    def latest(self) -> bytes:
        """The bytes of the latest batch."""
        return self._content[self._begin : self._end]


class TolerantRecords(PartitionRecords):  # type: ignore[misc]
    """The records of one partition in a fetch response, in order, whichever parser can read them."""

    next_fetch_offset: int

    def _consumer_record(self, tp: TopicPartition, record: DefaultRecord) -> "ConsumerRecord[bytes, bytes]":
        converted = super()._consumer_record(tp, record)
        converted.leader_epoch = self._records.leader_epoch
        return converted

    def _unpack_records(self) -> Iterator["ConsumerRecord[bytes, bytes]"]:
        began = self.next_fetch_offset
        try:
            while True:
                try:
                    yield from super()._unpack_records()
                except Exception as problem:  # noqa: BLE001 - whatever the parser met, parse the batch here
                    batch, records = self._parse_again(problem)
                else:
                    return
                for record in records:
                    if record.offset >= self.next_fetch_offset:
                        self.next_fetch_offset = record.offset + 1
                        yield self._consumer_record(self._tp, record)
                self.next_fetch_offset = batch.next_offset
        except Exception:
            if self.next_fetch_offset == began:
                raise
            # Deliver the records before the unreadable batch first; the next fetch begins with it, and fails.

    def _parse_again(self, failure: Exception) -> "tuple[_TolerantBatch, list[DefaultRecord]]":
        batch = _TolerantBatch(self._records.latest())
        if not batch.validate_crc():
            raise failure  # damaged since it was sent: another attempt, or another broker, may help
        try:
            records = list(batch)
        except Exception as problem:  # noqa: BLE001 - it ends the reading, and says where
            offsets = batch.base_offset, batch.next_offset
            raise UnreadableBatchError(self._tp.topic, self._tp.partition, *offsets, problem) from failure
        return batch, records


class _TolerantBatch(_DefaultRecordBatchPy):  # type: ignore[misc]
    """aiokafka's parser in Python, except that header names and a record's attributes may be any bytes."""

    _pos: int

    def _read_msg(self) -> DefaultRecord:
        end = self._varint() + self._pos
        self._pos += 1  # the attributes are one byte, which aiokafka reads as a varint
        created_ms = self.first_timestamp + self._varint()
        offset = self.base_offset + self._varint()
        key, value = self._sized_bytes(), self._sized_bytes()
        headers = [(_printable(self._sized_bytes()), self._sized_bytes()) for _ in range(self._varint())]
        if self._pos != end or end > len(self._buffer):
            raise CorruptRecordException(f"the record at offset {offset} does not end where it should")
        timestamp_ms = self.max_timestamp if self.timestamp_type else created_ms
        return DefaultRecord(offset, timestamp_ms, self.timestamp_type, key, value, headers)

    def _varint(self) -> int:
        number, self._pos = decode_varint_py(self._buffer, self._pos)
        return int(number)

    def _sized_bytes(self) -> bytes | None:
        length = self._varint()
        if length < 0:
            return None
        begin, self._pos = self._pos, self._pos + length
        return bytes(self._buffer[begin : self._pos])


def _printable(name: bytes | None) -> str:
    return (name or b"").decode("utf-8", "backslashreplace")


def install() -> None:
    """Makes every consumer of this process use these classes, Faust's too; aiokafka offers no other way."""
    fetcher.MemoryRecords, fetcher.PartitionRecords = Batches, TolerantRecords
    modules: tuple[Any, ...] = default_records, sys.modules[DefaultRecordBatch.__module__]
    for module in modules:
        # snappy inflates a batch to at most some twenty times its size, so it needs no limit.
        module.gzip_decode, module.lz4_decode, module.zstd_decode = inflate_gzip, inflate_lz4, inflate_zstd
