"""Record batches made byte by byte: such as our producers never write and a broker accepts all the same."""

import struct
import time
from collections.abc import Callable, Sequence
from typing import Any

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.util import calc_crc32c, encode_varint
from msgspec import Struct

from worker.kafka.connecting import client_options
from worker.settings import Settings

CODECS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "none": (0, bytes),
    "gzip": (1, gzip_encode),
    "snappy": (2, snappy_encode),
    "lz4": (3, lz4_encode),
    "zstd": (4, zstd_encode),
}
# Now: a broker deletes records that are older than their topic keeps them.
MADE_MS = time.time_ns() // 1_000_000
_FROM_ATTRIBUTES = struct.Struct(">hiqqqhii")


class Handmade(Struct, frozen=True):
    """One record; header names are bytes that need not be UTF-8."""

    key: bytes
    value: bytes
    headers: Sequence[tuple[bytes, bytes | None]] = ()
    attributes: int = 0
    timestamp_ms: int = MADE_MS


def batch(
    records: Sequence[Handmade], codec: str = "none", base_offset: int = 0, cut_bytes: int = 0, leader_epoch: int = -1
) -> bytes:
    """Encodes the records as one batch of Kafka's format 2, without the last `cut_bytes` of its content."""
    number, compress = CODECS[codec]
    plain = b"".join(_record(place, one) for place, one in enumerate(records))
    content = compress(plain[: len(plain) - cut_bytes])
    last = max(one.timestamp_ms for one in records)
    counted = _FROM_ATTRIBUTES.pack(number, len(records) - 1, MADE_MS, last, -1, -1, -1, len(records)) + content
    checked = struct.pack(">ibI", leader_epoch, 2, calc_crc32c(counted)) + counted
    return struct.pack(">qi", base_offset, len(checked)) + checked


async def send(settings: Settings, topic: str, partition: int, content: bytes) -> int:
    """Sends the batch to the broker and returns the offset of its first record."""
    client = AIOKafkaClient(**client_options(settings))
    await client.bootstrap()
    try:
        name = settings.topic(topic)
        await client.set_topics([name])
        leader = client.cluster.leader_for_partition(TopicPartition(name, partition))
        request = ProduceRequest(transactional_id=None, required_acks=-1, timeout=10_000,
                                 topics=[(name, [(partition, content)])])  # fmt: skip
        answer: Any = await client.send(leader, request)
        [(_, [(_, code, offset, *_)])] = answer.topics
        assert code == 0, f"the broker refuses the batch: {code}"
        return int(offset)
    finally:
        await client.close()


def _record(place: int, one: Handmade) -> bytes:
    body = bytearray([one.attributes])
    for number in (one.timestamp_ms - MADE_MS, place):
        encode_varint(number, body.append)
    _write(body, one.key)
    _write(body, one.value)
    encode_varint(len(one.headers), body.append)
    for name, content in one.headers:
        _write(body, name)
        _write(body, content)
    whole = bytearray()
    encode_varint(len(body), whole.append)
    return bytes(whole + body)


def _write(body: bytearray, content: bytes | None) -> None:
    encode_varint(-1 if content is None else len(content), body.append)
    body += content or b""
