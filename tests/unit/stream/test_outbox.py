"""Records in the outbox table are published as they were written."""

import zlib

import msgspec
import pytest
from cramjam import zstd

from worker.kafka import names
from worker.kafka.packing import pack, unpack
from worker.kafka.records import Outgoing
from worker.stream.outbox import decode, encode

PARTITION = 3
HEADERS = [("x", None), ("x", b""), ("y", b"\xff\x00")]


def test_a_dead_letter_in_the_outbox_keeps_its_headers_byte_for_byte():
    dead = Outgoing(names.INVOICES + "-dlt", PARTITION, None, None, HEADERS)

    assert unpack(decode(encode(pack([dead])))) == [dead]


@pytest.mark.parametrize(
    "packed_by", [lambda content: zlib.compress(content, 1), lambda content: bytes(zstd.compress(content, 1))]
)
def test_a_row_written_by_an_older_version_is_still_published(packed_by):
    record = Outgoing(names.ORDERS, PARTITION, b"order", b"{}", [("ce_id", b"order/1")])
    row = packed_by(msgspec.msgpack.encode([record]))

    assert unpack(decode(row)) == [record]


@pytest.mark.parametrize("position", range(-1, -70, -7))
def test_a_damaged_row_is_not_published(position):
    content = bytearray(zstd.decompress(encode(pack([Outgoing(names.ORDERS, PARTITION, b"order", b"{}", HEADERS)]))))
    content[position] ^= 1

    with pytest.raises(msgspec.DecodeError):
        decode(bytes(zstd.compress(content)))
