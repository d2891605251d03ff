"""A record as it came and a record as it goes; topics are logical names, without the deployment's prefix."""

from msgspec import Struct


class Record(Struct, frozen=True, gc=False):
    """One consumed record, byte for byte."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    timestamp_ms: int


class Outgoing(Struct, frozen=True, gc=False, array_like=True):
    """One record that leaves through the outbox; its partition is `Cycle.partition_of` the order id."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
