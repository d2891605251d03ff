"""Records as they come and as they go; topics are logical names, without the deployment's prefix."""

from collections.abc import Sequence
from typing import NamedTuple

from msgspec import Struct

# As Kafka has them: a name may come more than once, and a value may be missing.
Headers = Sequence[tuple[str, bytes | None]]
# A partition of a topic.
Place = tuple[str, int]
# Where a record stands: topic, partition, offset.
Origin = tuple[str, int, int]
# Of a broker that does not say which leader took a record.
UNKNOWN_EPOCH = -1


class Position(NamedTuple):
    """How far a partition was read, and the newest leader that is known to have all that stands before."""

    next_offset: int
    leader_epoch: int = UNKNOWN_EPOCH


class Record(Struct, frozen=True, gc=False):
    """One consumed record, byte for byte."""

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
        """Behind it."""
        return Position(self.offset + 1, self.leader_epoch)


class Outgoing(Struct, frozen=True, gc=False, array_like=True):
    """One record that leaves through the outbox; its partition is `Cycle.partition_of` the order id."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers

    @property
    def place(self) -> Place:
        return self.topic, self.partition
