"""Reads the batches that aiokafka's compiled parser cannot: brokers accept more than that parser does.

Good batches are left to it. One on which it fails is read again here, in Python, record by record: a header's name may
be any bytes, and so may the bits that have no meaning in Kafka yet. What cannot be read here either ends the reading.
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

# How a batch begins: its first offset, the length of all that follows these two, who led then, and the batch's format.
_BEGINNING = Struct(">qiib")
_FOLLOWS = 12
_FORMAT_WITH_EPOCHS = 2


class UnreadableBatchError(Exception):
    """A batch that neither the parser nor we can read; nothing is skipped."""

    def __init__(self, topic: str, partition: int, first: int, end: int, problem: Exception) -> None:
        super().__init__(
            f"{topic} partition {partition}: the batch of offsets {first} to {end - 1} cannot be read "
            f"({str(problem) or type(problem).__name__}); nothing is skipped: what comes after it waits"
        )


class Batches(MemoryRecords):  # type: ignore[misc]
    """The batches of one partition in a broker's answer; knows that which it gave out last."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self._content = content
        self._begin = self._end = 0
        self.leader_epoch = UNKNOWN_EPOCH
        """Of who took the batch."""

    def next_batch(self) -> Any:
        """The next batch, for the compiled parser."""
        _, length, epoch, of_format = _BEGINNING.unpack_from(self._content, self._end)
        self._begin, self._end = self._end, self._end + _FOLLOWS + length
        self.leader_epoch = epoch if of_format >= _FORMAT_WITH_EPOCHS else UNKNOWN_EPOCH
        return super().next_batch()

    def last(self) -> bytes:
        """The batch, byte for byte."""
        return self._content[self._begin : self._end]


class TolerantRecords(PartitionRecords):  # type: ignore[misc]
    """The records of one such answer, in order; a batch that the parser cannot read is read again by us."""

    next_fetch_offset: int

    def _consumer_record(self, place: TopicPartition, record: DefaultRecord) -> "ConsumerRecord[bytes, bytes]":
        found = super()._consumer_record(place, record)
        found.leader_epoch = self._records.leader_epoch
        return found

    def _unpack_records(self) -> Iterator["ConsumerRecord[bytes, bytes]"]:
        began = self.next_fetch_offset
        try:
            while True:
                try:
                    yield from super()._unpack_records()
                except Exception as problem:  # noqa: BLE001 - whatever it is, we read the batch ourselves
                    again, records = self._read_again(problem)
                else:
                    return
                for record in records:
                    if record.offset >= self.next_fetch_offset:
                        self.next_fetch_offset = record.offset + 1
                        yield self._consumer_record(self._tp, record)
                self.next_fetch_offset = again.next_offset
        except Exception:
            if self.next_fetch_offset == began:
                raise
            # The records before the bad batch are handed out first; the next fetch begins with it, and fails then.

    def _read_again(self, stumbled: Exception) -> "tuple[_TolerantBatch, list[DefaultRecord]]":
        again = _TolerantBatch(self._records.last())
        if not again.validate_crc():
            raise stumbled  # damaged since it was sent: another attempt, or another broker, may help
        try:
            records = list(again)
        except Exception as problem:  # noqa: BLE001 - it ends the reading, and says where
            place = self._tp.topic, self._tp.partition, again.base_offset, again.next_offset
            raise UnreadableBatchError(*place, problem) from stumbled
        return again, records


class _TolerantBatch(_DefaultRecordBatchPy):  # type: ignore[misc]
    """aiokafka's own parser in Python, except that header names and a record's attributes may be any bytes."""

    _pos: int

    def _read_msg(self) -> DefaultRecord:
        end = self._number() + self._pos
        self._pos += 1  # its attributes: one byte, which aiokafka reads as a number of variable length
        sent_ms = self.first_timestamp + self._number()
        offset = self.base_offset + self._number()
        key, value = self._content(), self._content()
        headers = [(_printable(self._content()), self._content()) for _ in range(self._number())]
        if self._pos != end or end > len(self._buffer):
            raise CorruptRecordException(f"the record at offset {offset} does not end where it should")
        at_ms = self.max_timestamp if self.timestamp_type else sent_ms
        return DefaultRecord(offset, at_ms, self.timestamp_type, key, value, headers)

    def _number(self) -> int:
        number, self._pos = decode_varint_py(self._buffer, self._pos)
        return int(number)

    def _content(self) -> bytes | None:
        length = self._number()
        if length < 0:
            return None
        begin, self._pos = self._pos, self._pos + length
        return bytes(self._buffer[begin : self._pos])


def _printable(name: bytes | None) -> str:
    return (name or b"").decode("utf-8", "backslashreplace")


def install() -> None:
    """Makes every consumer of this process read like this, Faust's too; aiokafka offers no other way."""
    fetcher.MemoryRecords, fetcher.PartitionRecords = Batches, TolerantRecords
    modules: tuple[Any, ...] = default_records, sys.modules[DefaultRecordBatch.__module__]
    for module in modules:
        # snappy inflates a batch to some twenty times its size at most: it needs no limit.
        module.gzip_decode, module.lz4_decode, module.zstd_decode = inflate_gzip, inflate_lz4, inflate_zstd
