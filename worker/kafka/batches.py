"""Reads the batches that aiokafka's compiled parser cannot: the broker accepts more than that parser does.

Good batches are left to it. One at which it stumbles is read again here, slowly, record by record: a header's name may
be any bytes, and so may what stands where Kafka has no meaning yet. What cannot be read here either ends the reading.
"""

import sys
from collections.abc import Iterator
from struct import Struct
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record import default_records
from aiokafka.record.default_records import DefaultRecord, DefaultRecordBatch, _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import decode_varint_py
from aiokafka.structs import ConsumerRecord

from worker.kafka.inflating import inflate_gzip, inflate_lz4, inflate_zstd

# Where a batch begins: its first offset, and its length without these two.
_BEGINNING = Struct(">qi")


class UnreadableBatchError(Exception):
    """Neither the parser nor we can read it, and nothing is skipped."""

    def __init__(self, topic: str, partition: int, first: int, end: int, problem: Exception) -> None:
        super().__init__(
            f"{topic} partition {partition}: the batch of offsets {first} to {end - 1} cannot be read "
            f"({str(problem) or type(problem).__name__}); nothing is skipped: what comes after it waits"
        )


class Batches(MemoryRecords):  # type: ignore[misc]
    """What one answer of a broker holds of one partition; knows the bytes of the batch that was given last."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self._content = content
        self._given = self._walked = 0
        self._begin = self._end = 0

    def next_batch(self) -> Any:
        """The next one, for the compiled parser."""
        self._given += 1
        return super().next_batch()

    def last(self) -> bytes:
        """The one that was given last, as it came."""
        while self._walked < self._given:
            _, length = _BEGINNING.unpack_from(self._content, self._end)
            self._begin, self._end = self._end, self._end + _BEGINNING.size + length
            self._walked += 1
        return self._content[self._begin : self._end]


class PatientRecords(PartitionRecords):  # type: ignore[misc]
    """The records of one such answer, one after another."""

    next_fetch_offset: int

    def _unpack_records(self) -> Iterator["ConsumerRecord[bytes, bytes]"]:
        began = self.next_fetch_offset
        try:
            while True:
                try:
                    yield from super()._unpack_records()
                except Exception as problem:  # noqa: BLE001 - whatever it is, we look ourselves
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
            # What came before it is read first; the next fetch begins here, and meets it again.

    def _read_again(self, stumbled: Exception) -> "tuple[_Again, list[DefaultRecord]]":
        again = _Again(self._records.last())
        if not again.validate_crc():
            raise stumbled  # not what was sent: another look, or another broker, may help
        try:
            records = list(again)
        except Exception as problem:  # noqa: BLE001 - it ends the reading, and says where
            place = self._tp.topic, self._tp.partition, again.base_offset, again.next_offset
            raise UnreadableBatchError(*place, problem) from stumbled
        return again, records


class _Again(_DefaultRecordBatchPy):  # type: ignore[misc]
    """A batch as aiokafka reads it without its compiled parser, except for what a name and a record's bits may be."""

    _pos: int

    def _read_msg(self) -> DefaultRecord:
        end = self._number() + self._pos
        self._pos += 1  # its attributes: a byte, where aiokafka takes a number that may have more
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
    """Every consumer of this process reads like this, Faust's too; aiokafka offers no other way."""
    fetcher.MemoryRecords, fetcher.PartitionRecords = Batches, PatientRecords
    modules: tuple[Any, ...] = default_records, sys.modules[DefaultRecordBatch.__module__]
    for module in modules:
        # snappy makes of a batch at most some twenty times as much: it needs no bound.
        module.gzip_decode, module.lz4_decode, module.zstd_decode = inflate_gzip, inflate_lz4, inflate_zstd
