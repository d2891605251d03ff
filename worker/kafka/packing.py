"""Packs records once, into batches of Kafka's own format: the bytes that are stored are the bytes that are sent."""

import time
from collections.abc import Iterable, Iterator, Sequence
from struct import Struct
from typing import Protocol

from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from worker.kafka.records import Headers, Outgoing, Place

# A batch before compression, below every topic's max.message.bytes; a larger record is a batch of its own.
BATCH_BYTES_MAX = 512 * 1024
# Small batches that wait are joined up to this size, since only one batch of a partition is in flight.
JOINED_BYTES_MAX = 16 * 1024

_MAGIC, _PLAIN, _ZSTD = 2, 0, 4
_NO_PRODUCER = -1
_NO_TIME = 0
# The fields of a batch of format 2 that are known only when it is sent: times of the first and the newest record,
# producer id, producer epoch, first sequence number; and the checksum of everything behind it.
_SENDER, _SENDER_AT = Struct(">qqqhi"), 27
_CHECKSUM, _CHECKSUM_AT, _CHECKED_FROM = Struct(">I"), 17, 21
_COUNT, _COUNT_AT = Struct(">i"), 57


class Batch:
    """Records of one partition. aiokafka's producer takes it for one of its own batches, and completes it to send it.

    Its records get their time only then: a broker may refuse an old time, or that of a clock that was wrong.
    """

    __slots__ = ("_content", "place")

    def __init__(self, place: Place, content: bytearray) -> None:
        self.place = place
        self._content = content

    @property
    def content(self) -> bytes:
        """The bytes to store."""
        return bytes(self._content)

    def is_intact(self) -> bool:
        """Whether the checksum matches the bytes."""
        return len(self._content) > _COUNT_AT + _COUNT.size and self._parsed().validate_crc()

    def records(self) -> Iterator[Outgoing]:
        """The records, unpacked."""
        for record in self._parsed():
            yield Outgoing(*self.place, record.key, record.value, record.headers)

    def _parsed(self) -> DefaultRecordBatch:
        return DefaultRecordBatch(self.content)

    # The methods that aiokafka's producer calls on a batch.

    def size(self) -> int:
        return len(self._content)

    def record_count(self) -> int:
        return int(_COUNT.unpack_from(self._content, _COUNT_AT)[0])

    def closed(self) -> bool:
        return True

    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        now_ms = time.time_ns() // 1_000_000
        _SENDER.pack_into(self._content, _SENDER_AT, now_ms, now_ms, producer_id, producer_epoch, base_sequence)
        checksum = calc_crc32c(memoryview(self._content)[_CHECKED_FROM:])
        _CHECKSUM.pack_into(self._content, _CHECKSUM_AT, checksum)

    def _build(self) -> bytearray:
        return self._content


class _Builder(Protocol):
    def append(
        self, offset: int, timestamp: int, key: bytes | None, value: bytes | None, headers: Headers
    ) -> object | None: ...

    def build(self) -> bytearray: ...


class Packer:
    """Packs records one by one into batches, with one open batch for each partition of each topic.

    Small batches are better not compressed: that costs the broker and the readers more than it saves.
    """

    def __init__(self, *, compressed: bool = False) -> None:
        self._codec = _ZSTD if compressed else _PLAIN
        self._packed: list[Batch] = []
        self._open: dict[Place, tuple[_Builder, int]] = {}

    def add(self, record: Outgoing) -> None:
        """Appends a record to its partition."""
        place = record.place
        builder, number = self._open.get(place) or (self._builder(), 0)
        if builder.append(number, _NO_TIME, record.key, record.value, record.headers) is None:
            self._packed.append(Batch(place, builder.build()))
            builder, number = self._builder(), 0
            builder.append(number, _NO_TIME, record.key, record.value, record.headers)
        self._open[place] = builder, number + 1

    def batches(self) -> list[Batch]:
        """All batches so far. Closes the open ones: later records begin new batches."""
        self._packed += [Batch(place, builder.build()) for place, (builder, _) in self._open.items()]
        self._open = {}
        return list(self._packed)

    def truncate(self, number: int) -> None:
        """Drops the open batches, and all but the first `number` of the others."""
        self._open = {}
        del self._packed[number:]

    def _builder(self) -> _Builder:
        builder: _Builder = DefaultRecordBatchBuilder(
            _MAGIC, self._codec, 0, _NO_PRODUCER, _NO_PRODUCER, _NO_PRODUCER, BATCH_BYTES_MAX
        )
        return builder


def pack(records: Iterable[Outgoing]) -> list[Batch]:
    packer = Packer()
    for record in records:
        packer.add(record)
    return packer.batches()


def unpack(batches: Iterable[Batch]) -> list[Outgoing]:
    """The records of these batches."""
    return [record for batch in batches for record in batch.records()]


def join_small(batches: Sequence[Batch]) -> list[Batch]:
    """The batches of one partition, with small neighbours joined."""
    joined, group = list[Batch](), list[Batch]()
    for batch in batches:
        if sum(member.size() for member in group) + batch.size() > JOINED_BYTES_MAX:
            joined += _join(group)
            group = []
        group.append(batch)
    return joined + _join(group)


def _join(batches: list[Batch]) -> list[Batch]:
    return batches if len(batches) <= 1 else pack(unpack(batches))
