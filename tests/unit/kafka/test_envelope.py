"""Events are read in every envelope that the contract allows, and every other record is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.kafka import names
from worker.kafka.envelope import (
    SOURCE,
    VALUE_BYTES_MAX,
    Event,
    Unreadable,
    binary_headers,
    id_of,
    is_ours,
    log_name,
    read_event,
    type_of,
)
from worker.kafka.records import Headers, Record

DATA = b'{"orderId": "o-1", "type": "Output"}'
BINARY = [("ce_specversion", b"1.0"), ("ce_id", b"id-1"), ("ce_type", b"invoice.issued"), ("ce_time", b"t")]


def _record(value: bytes | None, headers: Headers | None = None, topic: str = names.ORDER_CHANGES) -> Record:
    return Record(topic, 3, 14, None, value, headers or [], 0)


def _event(value: bytes, headers: Headers | None = None, topic: str = names.ORDER_CHANGES) -> Event:
    event = read_event(_record(value, headers, topic))
    assert isinstance(event, Event), event
    return event


def _refused(value: bytes | None, headers: Headers | None = None) -> Unreadable:
    refusal = read_event(_record(value, headers))
    assert isinstance(refusal, Unreadable), refusal
    return refusal


def test_binary_mode_has_the_data_as_its_value():
    event = _event(DATA, BINARY)

    assert (event.type, event.id, event.time, bytes(event.data)) == ("invoice.issued", "id-1", "t", DATA)


def test_structured_mode_needs_no_header_at_all():
    envelope = {"specversion": "1.0", "id": "id-1", "type": "order.changed", "time": "t", "source": "/erp"}
    value = json.dumps(envelope)[:-1].encode() + b', "data": ' + DATA + b"}"

    event = _event(value)

    assert (event.type, event.id, event.time, bytes(event.data)) == ("order.changed", "id-1", "t", DATA)


@pytest.mark.parametrize("name", ["content-type", "Content-Type"])
def test_structured_mode_takes_precedence_over_binary_headers(name: str):
    value = b'{"specversion": "1.0", "id": "id-1", "type": "order.changed", "data": ' + DATA + b"}"

    event = _event(value, [*BINARY, (name, b"application/cloudevents+json; charset=utf-8")])

    assert (event.type, event.id, bytes(event.data)) == ("order.changed", "id-1", DATA)


def test_structured_data_may_be_base64():
    event = _event(b'{"specversion": "1.0", "type": "t", "data_base64": "e30="}')

    assert bytes(event.data) == b"{}"


def test_a_number_keeps_its_spelling():
    event = _event(b'{"specversion": "1.0", "type": "t", "data": {"value": 1e3}}')

    assert bytes(event.data) == b'{"value": 1e3}'


def test_data_without_an_envelope_is_an_invoice_on_the_invoices_topic_only():
    assert _event(DATA, topic=names.INVOICES).type == "invoice.issued"
    assert _refused(DATA).reason == "malformed"


def test_a_value_behind_a_confluent_schema_prefix_is_read():
    assert bytes(_event(b"\0\0\0\0\x07" + DATA, BINARY).data) == DATA
    assert bytes(_event(b"\0\0\0\0\x07" + DATA, topic=names.INVOICES).data) == DATA


def test_a_missing_id_is_replaced_by_topic_partition_and_offset():
    assert _event(DATA, BINARY[2:]).id == f"{names.ORDER_CHANGES}-3-14"
    assert _event(DATA, topic=names.INVOICES).id == f"{names.INVOICES}-3-14"


def test_the_trace_is_taken_from_either_header():
    assert _event(DATA, [*BINARY, ("ce_traceparent", b"b")]).traceparent == "b"
    assert _event(DATA, [*BINARY, ("ce_traceparent", b"b"), ("traceparent", b"a")]).traceparent == "a"


@pytest.mark.parametrize("trace", ["00-a\r\nX-Forged: 1", "00-é", "00-\x7f", "0" * 257, ""])
def test_a_trace_that_is_not_a_valid_header_is_dropped_and_the_event_is_read(trace: str):
    structured = json.dumps({"specversion": "1.0", "type": "t", "traceparent": trace, "data": {}}).encode()

    assert _event(DATA, [*BINARY, ("traceparent", trace.encode())]).traceparent is None
    assert _event(DATA, [*BINARY, ("traceparent", trace.encode()), ("ce_traceparent", b"b")]).traceparent == "b"
    assert _event(structured).traceparent is None


@pytest.mark.parametrize(
    "value",
    [
        None, b"", b"\xff\xfe\0", b'{"a": "\xed\xa0\x80"}', b'{"specversion": "1.0"}', b"[1]", b"nothing",
        b'{"specversion": "1.0", "type": 7, "data": {}}', b'{"specversion": "1.0", "type": "t"}', b"{" * 100_000,
        b'{"a":' * 50_000, b'{"specversion": "1.0", "type": "t", "data_base64": "?"}',
    ],
    ids=lambda value: repr(value)[:30],
)  # fmt: skip
def test_a_value_without_an_envelope_is_malformed(value: bytes | None):
    assert _refused(value).reason == "malformed"


@pytest.mark.parametrize(("value", "sentence"), [
    (b"nothing", "the value is not JSON: "), (b"[1]", "the value is not a JSON object"),
    (b'{"specversion": "1.0", "type": 7, "data": {}}', "the envelope's type is missing or not a string"),
])  # fmt: skip
def test_a_malformed_record_is_refused_with_its_reason(value: bytes, sentence: str):
    assert _refused(value).message.startswith(sentence)


@pytest.mark.parametrize(
    "text",
    [r'{"a": "\u0000"}', r'{"\u0000": 1}', r'{"a": ["\ud800"]}', r'{"a": "\udc00\ud800"}', r'{"b": {"a": "\\\u0000"}}'],
)
def test_text_that_the_database_cannot_store_is_malformed_anywhere_in_the_data(text: str):
    assert _refused(text.encode(), BINARY).reason == "malformed"
    assert _refused(f'{{"specversion": "1.0", "type": "t", "data": {text}}}'.encode()).reason == "malformed"


@pytest.mark.parametrize("text", [r'{"a": "\\u0000"}', r'{"a": "\ud83d\ude00"}', '{"a": "ü😀"}', r'{"a": "\u00e9"}'])
def test_valid_text_with_escapes_is_read(text: str):
    assert bytes(_event(text.encode(), BINARY).data) == text.encode()


@pytest.mark.parametrize("header", [("ce_id", b"\xff"), ("ce_type", b"a\0b"), ("ce_type", b"")])
def test_headers_that_are_not_text_are_malformed(header: tuple[str, bytes]):
    others = [other for other in BINARY if other[0] != header[0]]

    assert _refused(DATA, [*others, header]).reason == "malformed"


@pytest.mark.parametrize("trace", [b"\xff", b"00-1-2-01\0"])
@pytest.mark.parametrize("name", ["traceparent", "ce_traceparent"])
def test_a_trace_that_is_not_text_is_dropped_and_the_event_is_read(name: str, trace: bytes):
    assert _event(DATA, [*BINARY, (name, trace)]).traceparent is None


def test_a_header_without_a_value_counts_as_missing():
    without_values = [(name, None) for name in ("ce_id", "ce_type", "ce_source", "traceparent")]
    record = _record(DATA, without_values)

    assert (id_of(record), type_of(record), is_ours(record)) == ("", "", False)
    assert _refused(DATA, without_values).message == "no CloudEvents envelope, neither in headers nor in the value"


def test_a_value_of_a_million_bytes_is_read_and_one_more_is_too_large():
    assert _event(b'"' + b"x" * (VALUE_BYTES_MAX - 2) + b'"', BINARY)
    assert _refused(b"x" * (VALUE_BYTES_MAX + 1), BINARY).reason == "too_large"


@pytest.mark.parametrize(
    ("topic", "source", "is_read"),
    [
        (names.COMMANDS, SOURCE, True), (names.OUTCOMES, SOURCE, True), (names.INVOICES, SOURCE, False),
        (names.COMMANDS, b"/erp", False), (names.OUTCOMES, b"/erp", False),
    ],
)  # fmt: skip
def test_above_a_million_bytes_only_our_own_commands_and_outcomes_are_read(topic: str, source: bytes, is_read: bool):
    value = b'"' + b"x" * VALUE_BYTES_MAX + b'"'

    event = read_event(
        _record(value, binary_headers("command.settle", "c-1", "2026-01-15T12:00:00Z", source=source), topic)
    )

    assert isinstance(event, Event) if is_read else event == Unreadable(
        "too_large", f"{VALUE_BYTES_MAX + 2} bytes, at most {VALUE_BYTES_MAX} are read"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("value", "headers", "name"),
    [
        (DATA, BINARY, "id-1"), (b'{"specversion": "1.0", "id": "id-1", "type": "t", "data": {}}', [], "id-1"),
        (b"no JSON", BINARY, "id-1"), (DATA, [], "erp.order-changes.v1-3-14"), (None, [], "erp.order-changes.v1-3-14"),
        (DATA, [("ce_type", b"t"), ("ce_id", b"x" * 300)], "x" * 256),
    ],
)  # fmt: skip
def test_logs_name_a_message_by_its_id_or_its_topic_partition_and_offset(
    value: bytes | None, headers: Headers, name: str
):
    assert log_name(_record(value, headers)) == name


def test_written_headers_are_read_back():
    headers = binary_headers("command.settle", "c-1", "2026-01-15T12:00:00Z", "00-1-2-01")

    event = _event(DATA, headers)

    assert (event.type, event.id, event.time) == ("command.settle", "c-1", "2026-01-15T12:00:00Z")
    assert event.traceparent == "00-1-2-01"
    assert dict(headers)["ce_specversion"] == b"1.0"
    assert dict(headers)["content-type"] == b"application/json"


@given(st.binary(max_size=200), st.sampled_from([[], BINARY]), st.sampled_from([names.INVOICES, names.OUTCOMES]))
def test_reading_arbitrary_bytes_never_raises(value: bytes, headers: list[tuple[str, bytes]], topic: str):
    assert isinstance(read_event(_record(value, headers, topic)), Event | Unreadable)
