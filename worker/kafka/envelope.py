"""CloudEvents 1.0 over Kafka: binary and structured mode are read, binary mode is written."""

import re
from base64 import b64decode
from binascii import Error as NoBase64
from typing import Any

import msgspec
from msgspec import Struct

from worker.kafka import names
from worker.kafka.dead_letters import ReasonCode
from worker.kafka.records import Record

VALUE_BYTES_MAX = 1_000_000
# A command repeats an input in more words, so here records of ours may be as large as the topic takes.
LARGE_IF_OURS = (names.COMMANDS, names.OUTCOMES)
TRACE_CHARACTERS_MAX = 256  # a server refuses longer headers, and a refusal is final (R35)
NAME_CHARACTERS_MAX = 256
SOURCE = b"/partial-settlement"
# Some producers publish the bare body of an invoice, without an envelope.
TYPE_WITHOUT_ENVELOPE = {names.INVOICES: "invoice.issued"}
_CONFLUENT_PREFIX_BYTES = 5  # a zero byte and the schema's number
_TRACES = frozenset(("ce_traceparent", "traceparent"))
_ATTRIBUTES = frozenset(("ce_id", "ce_type", "ce_specversion", "ce_time", *_TRACES))
# May be an escaped U+0000 or surrogate; or the text after an escaped backslash, so that only decoding tells.
_SUSPICIOUS = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")


class Event(Struct, frozen=True, gc=False):
    """The event in a record; `data` is JSON, not parsed yet."""

    type: str
    id: str
    time: str | None
    traceparent: str | None
    data: bytes | msgspec.Raw


class Unreadable(Struct, frozen=True, gc=False):
    """Why a record cannot be read."""

    reason: ReasonCode
    message: str


_NOTHING = msgspec.Raw()
_SPECVERSION = ("ce_specversion", b"1.0")
_CONTENT_TYPE = ("content-type", b"application/json")
_ENVELOPE = b"application/cloudevents"


class _Structured(Struct):
    """The JSON envelope. All fields are optional, so that a body without an envelope decodes too."""

    specversion: Any = None
    type: Any = None
    id: Any = None
    time: Any = None
    traceparent: Any = None
    data: msgspec.Raw = _NOTHING
    data_base64: Any = None


_structured = msgspec.json.Decoder(_Structured)
_any = msgspec.json.Decoder(Any)


def read_event(record: Record) -> Event | Unreadable:
    """The event in a record, or why it cannot be read; never raises."""
    value = record.value
    if not value:
        return Unreadable("malformed", "the record has no value")
    if len(value) > VALUE_BYTES_MAX and not (record.topic in LARGE_IF_OURS and is_ours(record)):
        return Unreadable("too_large", f"{len(value)} bytes, at most {VALUE_BYTES_MAX} are read")
    if value[0] == 0:
        _, value = split_schema_id(value)
    if problem := _text_problem(value):
        return Unreadable("malformed", problem)
    attributes = _attributes(record)
    if isinstance(attributes, Unreadable):
        return attributes
    binary = ("ce_type" in attributes or "ce_specversion" in attributes) and not _has_structured_content_type(record)
    return _binary(record, attributes, value) if binary else _structured_or_bare(record, attributes, value)


def log_name(record: Record) -> str:
    """The name of a message in logs and traces: its event id in either mode, else topic, partition and offset."""
    event = read_event(record)
    name = event.id if isinstance(event, Event) else id_of(record) or _origin_id(record)
    return name[:NAME_CHARACTERS_MAX]


def log_fields(record: Record) -> dict[str, Any]:
    """The fields by which a log line identifies a record."""
    return {"ce_id": log_name(record), "topic": record.topic, "partition": record.partition, "offset": record.offset}


def split_schema_id(value: bytes) -> tuple[bytes, bytes]:
    """Splits a value into Confluent's schema id prefix, empty if there is none, and the rest."""
    length = _CONFLUENT_PREFIX_BYTES if value[:1] == b"\0" and len(value) >= _CONFLUENT_PREFIX_BYTES else 0
    return value[:length], value[length:]


def _has_structured_content_type(record: Record) -> bool:
    """Whether the content type is that of an envelope; headers may repeat the envelope's attributes."""
    for name, content in record.headers:
        if name.lower() == "content-type" and (content or b"").lower().startswith(_ENVELOPE):
            return True
    return False


def is_ours(record: Record) -> bool:
    """Whether one of our workers wrote the record."""
    return ("ce_source", SOURCE) in record.headers


def id_of(record: Record) -> str:
    """The header `ce_id`; empty if there is none."""
    return _header(record, "ce_id")


def split_id(record: Record, separator: str = "/") -> tuple[str, int] | None:
    """Splits the header `ce_id`, such as `order/7`, into name and number; None if it is not of that form."""
    name, _, number = id_of(record).rpartition(separator)
    return (name, int(number)) if name and number.isdecimal() else None


def type_of(record: Record) -> str:
    """The header `ce_type`; empty if there is none."""
    return _header(record, "ce_type")


def _header(record: Record, name: str) -> str:
    content = next((content for header, content in record.headers if header == name), None)
    return (content or b"").decode("utf-8", "replace")


def binary_headers(
    type_: str, id_: str, time: str, traceparent: str | None = None, source: bytes = SOURCE
) -> list[tuple[str, bytes]]:
    """The headers of a record in binary mode."""
    headers = [
        ("ce_id", id_.encode()),
        ("ce_source", source),
        ("ce_type", type_.encode()),
        _SPECVERSION,
        ("ce_time", time.encode()),
        _CONTENT_TYPE,
    ]
    if traceparent is not None:
        headers.append(("traceparent", traceparent.encode()))
    return headers


def _attributes(record: Record) -> dict[str, str] | Unreadable:
    """The headers that we read. A trace that is not text is left out, so that it does not keep money from moving."""
    attributes: dict[str, str] = {}
    for name, content in record.headers:
        if name in _ATTRIBUTES and content is not None:
            try:
                attributes[name] = content.decode()
            except UnicodeDecodeError:
                if name not in _TRACES:
                    return Unreadable("malformed", f"the header {name} is not UTF-8")
            else:
                if "\0" in attributes[name] and name not in _TRACES:
                    return Unreadable("malformed", f"the header {name} contains U+0000")
    return attributes


def _binary(record: Record, attributes: dict[str, str], value: bytes) -> Event | Unreadable:
    if not (type_ := attributes.get("ce_type")):
        return Unreadable("malformed", "the header ce_type is missing")
    return Event(
        type_, attributes.get("ce_id") or _origin_id(record), attributes.get("ce_time"), _trace(attributes), value
    )


def _structured_or_bare(record: Record, attributes: dict[str, str], value: bytes) -> Event | Unreadable:
    try:
        envelope = _structured.decode(value)
    except msgspec.ValidationError:
        return Unreadable("malformed", "the value is not a JSON object")
    except (msgspec.DecodeError, RecursionError) as problem:
        return Unreadable("malformed", f"the value is not JSON: {problem}")
    if envelope.specversion is None:
        return _bare(record, attributes, value)
    if not isinstance(envelope.type, str) or not envelope.type:
        return Unreadable("malformed", "the envelope's type is missing or not a string")
    data = _data(envelope)
    if data is None:
        return Unreadable("malformed", "the envelope has no data")
    trace = envelope.traceparent if isinstance(envelope.traceparent, str) else None
    id_ = envelope.id if isinstance(envelope.id, str) and envelope.id else _origin_id(record)
    time = envelope.time if isinstance(envelope.time, str) else None
    return Event(envelope.type, id_, time, _trace(attributes) or _valid_trace(trace), data)


def _bare(record: Record, attributes: dict[str, str], value: bytes) -> Event | Unreadable:
    type_ = TYPE_WITHOUT_ENVELOPE.get(record.topic)
    if type_ is None:
        return Unreadable("malformed", "no CloudEvents envelope, neither in headers nor in the value")
    return Event(
        type_, attributes.get("ce_id") or _origin_id(record), attributes.get("ce_time"), _trace(attributes), value
    )


def _data(envelope: _Structured) -> bytes | msgspec.Raw | None:
    if envelope.data is not _NOTHING:
        return envelope.data
    if isinstance(envelope.data_base64, str):
        try:
            decoded = b64decode(envelope.data_base64, validate=True)
        except (NoBase64, ValueError):
            return None
        return None if _text_problem(decoded) else decoded
    return None


def _trace(attributes: dict[str, str]) -> str | None:
    return _valid_trace(attributes.get("traceparent")) or _valid_trace(attributes.get("ce_traceparent"))


def _valid_trace(trace: str | None) -> str | None:
    """The trace if it can be a header of a request, else None, so that it does not keep money from moving."""
    good = trace and trace.isascii() and trace.isprintable() and len(trace) <= TRACE_CHARACTERS_MAX
    return trace if good else None


def _origin_id(record: Record) -> str:
    return f"{record.topic}-{record.partition}-{record.offset}"


def _text_problem(value: bytes) -> str | None:
    """Why PostgreSQL could not store the text: U+0000 or lone surrogates, also in fields that nobody reads."""
    try:
        value.decode()
    except UnicodeDecodeError as problem:
        return f"the value is not UTF-8 at byte {problem.start}"
    if _SUSPICIOUS.search(value) is None:
        return None
    try:
        text = _strings(_any.decode(value))
    except (msgspec.DecodeError, RecursionError) as problem:
        return f"the value is not JSON: {problem}"
    return "a string contains U+0000" if "\0" in text else None


def _strings(value: Any) -> str:
    """All strings of a JSON value, names included."""
    strings: list[str] = []
    pending = [value]
    while pending:
        part = pending.pop()
        if isinstance(part, str):
            strings.append(part)
        elif isinstance(part, dict):
            strings.extend(part)
            pending.extend(part.values())
        elif isinstance(part, list):
            pending.extend(part)
    return "\n".join(strings)
