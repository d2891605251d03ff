"""Packs records once, into the batches that Kafka keeps: the bytes that are stored are the bytes that are sent."""

import time
from collections.abc import Iterable, Iterator, Sequence
from struct import Struct
from typing import Protocol

from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from worker.kafka.records import Headers, Outgoing, Place

# How large a batch is before compression, below every topic's max.message.bytes; a larger record travels alone.
BATCH_BYTES_MAX = 512 * 1024
# Small batches that wait are joined up to this size: a broker takes one batch of a partition at a time.
JOINED_BYTES_MAX = 16 * 1024

_MAGIC, _PLAIN, _ZSTD = 2, 0, 4
_NOBODY = -1
_UNTIMED = 0
# Where a batch of format 2 has what only its sender knows: the times of its first and its newest record, the producer's
# id and epoch, the first sequence number. And the checksum of all that follows the checksum.
_SENDER, _SENDER_AT = Struct(">qqqhi"), 27
_CHECKSUM, _CHECKSUM_AT, _CHECKED_FROM = Struct(">I"), 17, 21
_COUNT, _COUNT_AT = Struct(">i"), 57


class Batch:
    """Records of one partition. aiokafka's producer takes it for one of its own batches, and seals it as it sends it.

    Only then do its records get a time: a broker may refuse what was packed too long ago, or while a clock was wrong.
    """

    __slots__ = ("_content", "place")

    def __init__(self, place: Place, content: bytearray) -> None:
        self.place = place
        self._content = content

    @property
    def content(self) -> bytes:
        """The bytes that are stored."""
        return bytes(self._content)

    def is_intact(self) -> bool:
        """Whether the bytes are still those that were packed."""
        return len(self._content) > _COUNT_AT + _COUNT.size and self._opened().validate_crc()

    def records(self) -> Iterator[Outgoing]:
        """The records in it."""
        for one in self._opened():
            yield Outgoing(*self.place, one.key, one.value, one.headers)

    def _opened(self) -> DefaultRecordBatch:
        return DefaultRecordBatch(self.content)

    # What aiokafka's producer calls on a batch.

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
    """Packs record by record, one batch at a time for each partition of each topic, in order.

    Small batches are better not compressed: that costs the broker and the readers more than it saves.
    """

    def __init__(self, *, compressed: bool = False) -> None:
        self._codec = _ZSTD if compressed else _PLAIN
        self._packed: list[Batch] = []
        self._open: dict[Place, tuple[_Builder, int]] = {}

    def add(self, record: Outgoing) -> None:
        """Adds a record behind the others of its partition."""
        place = record.place
        builder, number = self._open.get(place) or (self._builder(), 0)
        if builder.append(number, _UNTIMED, record.key, record.value, record.headers) is None:
            self._packed.append(Batch(place, builder.build()))
            builder, number = self._builder(), 0
            builder.append(number, _UNTIMED, record.key, record.value, record.headers)
        self._open[place] = builder, number + 1

    def batches(self) -> list[Batch]:
        """All batches so far; records that come later begin new ones."""
        self._packed += [Batch(place, builder.build()) for place, (builder, _) in self._open.items()]
        self._open = {}
        return list(self._packed)

    def truncate(self, number: int) -> None:
        """Drops all but the first `number` batches."""
        self._open = {}
        del self._packed[number:]

    def _builder(self) -> _Builder:
        builder: _Builder = DefaultRecordBatchBuilder(
            _MAGIC, self._codec, 0, _NOBODY, _NOBODY, _NOBODY, BATCH_BYTES_MAX
        )
        return builder


def pack(records: Iterable[Outgoing]) -> list[Batch]:
    packing = Packer()
    for record in records:
        packing.add(record)
    return packing.batches()


def unpack(batches: Iterable[Batch]) -> list[Outgoing]:
    """The records in these batches."""
    return [record for batch in batches for record in batch.records()]


def join_small(batches: Sequence[Batch]) -> list[Batch]:
    """The batches of one partition, with small neighbours joined."""
    found, group = list[Batch](), list[Batch]()
    for batch in batches:
        if sum(one.size() for one in group) + batch.size() > JOINED_BYTES_MAX:
            found += _as_one(group)
            group = []
        group.append(batch)
    return found + _as_one(group)


def _as_one(batches: list[Batch]) -> list[Batch]:
    return batches if len(batches) <= 1 else pack(unpack(batches))
