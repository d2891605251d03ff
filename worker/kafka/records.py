"""Consumed and outgoing records, and where they are. Topics are named without the deployment's prefix."""

from collections.abc import Sequence
from typing import NamedTuple

from msgspec import Struct

# A name may occur more than once, and a value may be None.
Headers = Sequence[tuple[str, bytes | None]]
# Topic and partition.
Place = tuple[str, int]
# Topic, partition and offset of a record.
Origin = tuple[str, int, int]
# The leader epoch of a record from a broker that does not send it.
UNKNOWN_EPOCH = -1
# The leader, in brokers' metadata, of a partition that has none.
NO_LEADER = -1


class Position(NamedTuple):
    """The next offset to read, and the newest leader whose log is known to contain all records before it."""

    next_offset: int
    leader_epoch: int = UNKNOWN_EPOCH


class Record(Struct, frozen=True, gc=False):
    """A consumed record; key, value and headers are the bytes that Kafka has."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int
    leader_epoch: int = UNKNOWN_EPOCH

    @property
    def place(self) -> Place:
        return self.topic, self.partition

    @property
    def origin(self) -> Origin:
        return self.topic, self.partition, self.offset

    @property
    def position(self) -> Position:
        """The position behind the record."""
        return Position(self.offset + 1, self.leader_epoch)


class Outgoing(Struct, frozen=True, gc=False, array_like=True):
    """A record to publish; its partition is `Cycle.partition_of` the order id."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers

    @property
    def place(self) -> Place:
        return self.topic, self.partition
