"""Records as they come and as they go; topics are logical names, without the deployment's prefix."""

from collections.abc import Sequence

from msgspec import Struct

# As Kafka has them: a name may come more than once, and a value may be missing.
Headers = Sequence[tuple[str, bytes | None]]
# A partition of a topic.
Place = tuple[str, int]
# Where a record stands: topic, partition, offset.
Origin = tuple[str, int, int]


class Record(Struct, frozen=True, gc=False):
    """One consumed record, byte for byte."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int

    @property
    def place(self) -> Place:
        return self.topic, self.partition

    @property
    def origin(self) -> Origin:
        return self.topic, self.partition, self.offset


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
