"""A dead letter is the original record with two families of headers about the error."""

import hashlib

from worker.kafka.dead_letters import dead_letter, original
from worker.kafka.records import Record

RECORD = Record("erp.invoices.v1", 7, 1 << 33, b"key", b"value", [("a", b"1"), ("a", b"2")], 1_768_478_400_123)
ROOM = 1_000_000


def test_key_value_headers_and_partition_stay_byte_for_byte():
    out, reason = dead_letter(RECORD, "invalid", "why", "p.", ROOM)

    assert (out.topic, out.partition, out.key, out.value) == ("erp.invoices.v1-dlt", 7, b"key", b"value")
    assert out.headers[:2] == RECORD.headers
    assert reason == "invalid"


def test_spring_headers_are_big_endian_numbers_and_connect_headers_are_text():
    headers = dict(dead_letter(RECORD, "invalid", "why", "p.", ROOM)[0].headers)

    assert headers["kafka_dlt-original-topic"] == b"p.erp.invoices.v1"
    assert headers["kafka_dlt-original-partition"] == b"\0\0\0\x07"
    assert headers["kafka_dlt-original-offset"] == (1 << 33).to_bytes(8, "big")
    assert headers["kafka_dlt-original-timestamp"] == (1_768_478_400_123).to_bytes(8, "big")
    assert headers["kafka_dlt-exception-fqcn"] == b"invalid"
    assert headers["kafka_dlt-exception-message"] == b"why"
    assert headers["__connect.errors.topic"] == b"p.erp.invoices.v1"
    assert headers["__connect.errors.partition"] == b"7"
    assert headers["__connect.errors.offset"] == b"8589934592"
    assert headers["__connect.errors.exception.class.name"] == b"invalid"
    assert headers["__connect.errors.exception.message"] == b"why"


def test_a_record_that_does_not_fit_loses_its_value_and_keeps_its_checksum():
    value = b"x" * 50_000
    record = Record("erp.invoices.v1", 7, 1, b"key", value, [("a", b"1")], 0)

    out, reason = dead_letter(record, "invalid", "why", "", 20_000)

    headers = dict(out.headers)
    assert (out.value, reason) == (b"", "too_large")
    assert headers["settlement-value-sha256"] == hashlib.sha256(value).hexdigest().encode()
    assert headers["a"] == b"1"
    assert headers["kafka_dlt-exception-fqcn"] == headers["__connect.errors.exception.class.name"] == b"too_large"


def test_headers_that_do_not_fit_either_are_dropped():
    record = Record("erp.invoices.v1", 7, 1, b"key", b"v", [("a", b"1" * 50_000)], 0)

    out, reason = dead_letter(record, "invalid", "why", "", 20_000)

    assert (out.value, reason, dict(out.headers).get("a")) == (b"", "too_large", None)


def test_a_key_that_does_not_fit_either_is_dropped():
    record = Record("erp.invoices.v1", 7, 1, b"k" * 50_000, b"v", [("a", b"1")], 0)

    out, reason = dead_letter(record, "malformed", "why", "", 20_000)

    assert (out.key, out.value, out.partition, reason) == (None, b"", 7, "too_large")
    assert dict(out.headers)["settlement-value-sha256"] == hashlib.sha256(b"v").hexdigest().encode()


def test_a_missing_value_and_a_header_without_a_value_are_preserved():
    record = Record("erp.invoices.v1", 7, 1, None, None, [("a", None)], -1)

    out, _ = dead_letter(record, "malformed", "why", "", ROOM)

    assert (out.key, out.value, out.headers[0]) == (None, None, ("a", None))
    restored = original(Record(out.topic, 7, 0, out.key, out.value, [*out.headers, ("b", None)], 0), "")
    assert restored is not None
    assert restored.record == record


def test_an_error_message_is_truncated_and_printable():
    out, _ = dead_letter(RECORD, "malformed", "\0\ud800" + "x" * 5_000, "", ROOM)

    message = dict(out.headers)["__connect.errors.exception.message"].decode()
    assert message.startswith(r"\0\ud800xxx")
    assert len(message) == 1_000


def test_a_dead_letter_that_dies_again_keeps_its_headers_and_appends_the_new_ones():
    once, _ = dead_letter(RECORD, "invalid", "first", "p.", ROOM)
    sent_back = Record("erp.invoices.v1", 7, 99, b"key", b"value", once.headers, 0)

    twice, _ = dead_letter(sent_back, "rejected", "second", "p.", ROOM)

    assert twice.headers[: len(once.headers)] == once.headers
    messages = [content for name, content in twice.headers if name == "kafka_dlt-exception-message"]
    assert messages == [b"first", b"second"]
    restored = original(Record(twice.topic, 7, 0, twice.key, twice.value, twice.headers, 0), "p.")
    assert restored is not None
    assert (restored.record, restored.message) == (sent_back, "second")
