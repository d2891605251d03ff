"""The partition of a key is the one that Java's producer chooses."""

import pytest

from worker.kafka.murmur2 import murmur2, partition_of


@pytest.mark.parametrize(
    ("text", "hash_"),
    [
        # From Kafka's own UtilsTest.
        ("21", -973932308), ("foobar", -790332482), ("a-little-bit-long-string", -985981536),
        ("a-little-bit-longer-string", -1486304829), ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        ("abc", 479470107),
    ],
)  # fmt: skip
def test_the_hash_is_the_same_as_that_of_kafka(text: str, hash_: int):
    assert murmur2(text.encode()) == hash_ & 0xFFFFFFFF


def test_the_partition_is_the_positive_hash_modulo_the_number_of_partitions():
    assert partition_of("21", 12) == (-973932308 & 0x7FFFFFFF) % 12
    assert {partition_of(f"order-{n}", 12) for n in range(200)} == set(range(12))
