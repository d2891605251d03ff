"""Records of `<topic>-dlt`: the original record, byte for byte, with the headers that existing tools read."""

from hashlib import sha256
from typing import Any, Literal

from msgspec import Struct, structs

from worker.kafka.names import DEAD_LETTER_SUFFIX
from worker.kafka.records import Headers, Outgoing, Record
from worker.text import storable

# Why a record became a dead letter. The tables and the headers' schema list the same codes.
ReasonCode = Literal[
    "malformed", "invalid", "unknown_type", "conflicting_duplicate", "rejected", "order_unknown", "declined", "manual",
    "suspect", "unknown_outcome", "too_large", "internal",
]  # fmt: skip

MESSAGE_CHARACTERS_MAX = 1_000
# What Kafka adds to a record that is alone in its batch, rounded up; each header needs two lengths more.
_OVERHEAD_BYTES = 128
_HEADER_OVERHEAD_BYTES = 10
_FIRST = "kafka_dlt-original-topic"
SHA256_HEADER = "settlement-value-sha256"
# Dropped one after the other until the rest fits.
_DROPPED: tuple[dict[str, Any], ...] = ({"value": b""}, {"headers": []}, {"key": None})
# Holds the id of the dead letter that a record replays.
REPLAY_HEADER = "settlement-replay"
ID_DIGITS_MAX = 18


def dead_letter(
    record: Record, reason: ReasonCode, message: str, prefix: str, bytes_max: int
) -> tuple[Outgoing, ReasonCode]:
    """The record for the dead letter topic, and its reason: `too_large` if parts of it had to be dropped.

    To fit `bytes_max`, the value is dropped, then the headers, then the key. A record that a tool sent back from the
    dead letter topic keeps the headers that it came with; ours are added behind them.
    """
    message = printable(message)
    added = _headers(record, reason, message, prefix)
    if _size(record, added) <= bytes_max:
        return _outgoing(record, added), reason
    reason = "too_large"
    added = _headers(record, reason, message, prefix)
    added.append((SHA256_HEADER, sha256(record.value or b"").hexdigest().encode()))
    for dropped in _DROPPED:
        record = structs.replace(record, **dropped)
        if _size(record, added) <= bytes_max:
            break
    return _outgoing(record, added), reason


def replay_of(record: Record) -> int | None:
    """The id of the dead letter that a record replays; None if it names no number."""
    text = next((content for name, content in record.headers if name == REPLAY_HEADER), None)
    return int(text) if text and text.isdigit() and len(text) <= ID_DIGITS_MAX else None


class Original(Struct, frozen=True):
    """The record behind a dead letter, and why it became one."""

    record: Record
    reason: str
    message: str


def original(dead: Record, prefix: str) -> Original | None:
    """Decodes one of our dead letters; None if it is not ours. What was dropped from the record stays empty."""
    ours_from = max((index for index, (name, _) in enumerate(dead.headers) if name == _FIRST), default=None)
    if ours_from is None:
        return None
    ours = {name: content or b"" for name, content in dead.headers[ours_from:]}
    record = Record(
        ours[_FIRST].decode().removeprefix(prefix),
        int.from_bytes(ours["kafka_dlt-original-partition"], "big", signed=True),
        int.from_bytes(ours["kafka_dlt-original-offset"], "big", signed=True),
        dead.key, dead.value, dead.headers[:ours_from],
        int.from_bytes(ours["kafka_dlt-original-timestamp"], "big", signed=True),
    )  # fmt: skip
    return Original(
        record,
        ours["kafka_dlt-exception-fqcn"].decode(),
        ours["kafka_dlt-exception-message"].decode("utf-8", "replace"),
    )


def printable(message: str) -> str:
    """The message without what cannot be stored, cut to a length that a person reads."""
    clean = storable(message)
    return clean if len(clean) <= MESSAGE_CHARACTERS_MAX else clean[: MESSAGE_CHARACTERS_MAX - 1] + "…"


def _outgoing(record: Record, added: Headers) -> Outgoing:
    topic = record.topic + DEAD_LETTER_SUFFIX
    return Outgoing(topic, record.partition, record.key, record.value, [*record.headers, *added])


def _headers(record: Record, reason: ReasonCode, message: str, prefix: str) -> list[tuple[str, bytes]]:
    topic = (prefix + record.topic).encode()
    return [
        (_FIRST, topic),
        ("kafka_dlt-original-partition", record.partition.to_bytes(4, "big", signed=True)),
        ("kafka_dlt-original-offset", record.offset.to_bytes(8, "big", signed=True)),
        ("kafka_dlt-original-timestamp", record.timestamp_ms.to_bytes(8, "big", signed=True)),
        ("kafka_dlt-exception-fqcn", reason.encode()),
        ("kafka_dlt-exception-message", message.encode()),
        ("__connect.errors.topic", topic),
        ("__connect.errors.partition", str(record.partition).encode()),
        ("__connect.errors.offset", str(record.offset).encode()),
        ("__connect.errors.exception.class.name", reason.encode()),
        ("__connect.errors.exception.message", message.encode()),
    ]


def _size(record: Record, added: Headers) -> int:
    size = _OVERHEAD_BYTES + len(record.key or b"") + len(record.value or b"")
    for name, content in (*record.headers, *added):
        size += _HEADER_OVERHEAD_BYTES + len(name.encode()) + len(content or b"")
    return size
