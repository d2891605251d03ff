"""The partition that Java's default partitioner gives an order id."""

from functools import lru_cache

_MASK = 0xFFFFFFFF
_SEED = 0x9747B28C
_MIX = 0x5BD1E995
_CACHED_IDS_MAX = 8_192


def murmur2(data: bytes) -> int:
    """Kafka's 32-bit murmur2, unsigned."""
    length = len(data)
    mixed = _SEED ^ length
    whole = length & ~3
    for four in memoryview(data[:whole]).cast("I"):
        word = four * _MIX & _MASK
        mixed = (mixed * _MIX & _MASK) ^ ((word ^ word >> 24) * _MIX & _MASK)
    if length > whole:
        mixed = (mixed ^ int.from_bytes(data[whole:], "little")) * _MIX & _MASK
    mixed = (mixed ^ mixed >> 13) * _MIX & _MASK
    return mixed ^ mixed >> 15


@lru_cache(_CACHED_IDS_MAX)
def partition_of(order_id: str, partitions: int) -> int:
    """The partition to which every record about this order belongs."""
    return (murmur2(order_id.encode()) & 0x7FFFFFFF) % partitions
