"""How tables store a record: its bytes as they are, its headers as JSON."""

from collections.abc import Mapping
from typing import Any

import msgspec

from worker.kafka.records import Headers, Record
from worker.postgres.values import milliseconds

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[tuple[str, bytes | None]]).decode


def encode_headers(headers: Headers) -> bytes:
    """Encodes headers as a JSON array of [name, value], values in base64 or null."""
    return _encode(headers)


def decode_headers(content: bytes) -> Headers:
    """Decodes what `encode_headers` wrote."""
    return _decode(content)


def stored_record(row: Mapping[str, Any]) -> Record:
    """Returns the record of a row that has a column for each of its fields."""
    return Record(
        row["topic"], row["partition"], row["offset"], row["key"], row["value"], decode_headers(row["headers"]),
        milliseconds(row["timestamp"]),
    )  # fmt: skip
