"""Sends the facts themselves to Kafka, so that a ledger can be restored from there.

The first command and the first event that a fact causes carry it in the header `settlement-facts`: the fact and its
terms as the ledger stores them, preceded by the order's facts that caused no message. Folded again in their order, they
give the same state, entries, commands and ids (`settlement recover`).
"""

import zlib
from collections.abc import Sequence

import msgspec
from msgspec import Raw, Struct

from worker.kafka.records import Origin

HEADER = "settlement-facts"
# Above this the header is deflated; below, a person who reads the record can read it as it is.
PLAIN_BYTES_MAX = 16 * 1024

_encode = msgspec.json.Encoder().encode


class Journaled(Struct, frozen=True, array_like=True):
    """One fact of an order."""

    sequence: int
    source: Origin | None
    """The record it came in, topic without prefix; None: time itself, or the connectors file."""
    traceparent: str | None
    fact: Raw
    terms: Raw


_decode = msgspec.json.Decoder(list[Journaled]).decode


def encode(facts: Sequence[Journaled]) -> bytes:
    """The header's content."""
    content = _encode(facts)
    return content if len(content) <= PLAIN_BYTES_MAX else zlib.compress(content)


def decode(content: bytes) -> list[Journaled]:
    """Reads what `encode` wrote."""
    return _decode(content if content.startswith(b"[") else zlib.decompress(content))
