"""What waits for Kafka in the database comes out as it went in."""

import zlib

import msgspec

from worker.kafka import names
from worker.kafka.records import Outgoing
from worker.stream.keeping import decode_headers, encode_headers
from worker.stream.outbox import pack, unpack

HEADERS = [("x", None), ("x", b""), ("y", b"\xff\x00")]


def test_a_header_without_a_value_stays_one_without_a_value():
    assert encode_headers(HEADERS) == b'[["x",null],["x",""],["y","/wA="]]'
    assert decode_headers(encode_headers(HEADERS)) == HEADERS


def test_a_dead_letter_left_over_in_the_outbox_keeps_its_headers_byte_for_byte():
    dead = Outgoing(names.INVOICES + "-dlt", 3, None, None, HEADERS)

    assert unpack(pack([dead])) == [dead]


def test_a_row_that_an_older_program_left_in_the_outbox_is_still_published():
    record = Outgoing(names.ORDERS, 3, b"order", b"{}", [("ce_id", b"order/1")])
    as_it_was_packed = zlib.compress(msgspec.msgpack.encode([record]), 1)

    assert unpack(as_it_was_packed) == [record]
