"""CloudEvents 1.0 over Kafka: both modes are read, binary mode is written."""

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
# A command repeats what an input said, in more words; what we wrote to these ourselves is bounded by its topic alone.
WRITTEN_BY_US = (names.COMMANDS, names.OUTCOMES)
TRACE_CHARACTERS_MAX = 256  # a server refuses long headers for good, and a refusal is believed (R35)
NAME_CHARACTERS_MAX = 256
SOURCE = b"/partial-settlement"
# Producers that publish the bare body of an invoice, as they always did.
TYPE_WITHOUT_ENVELOPE = {names.INVOICES: "invoice.issued"}
_CONFLUENT_PREFIX_BYTES = 5  # a zero and the number of a schema
_TRACES = frozenset(("ce_traceparent", "traceparent"))
_ATTRIBUTES = frozenset(("ce_id", "ce_type", "ce_specversion", "ce_time", *_TRACES))
# Worth a closer look: an escaped U+0000 or surrogate, perhaps only behind an escaped backslash.
_SUSPICIOUS = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")


class Event(Struct, frozen=True, gc=False):
    """The event in a record; `data` is JSON that has not been parsed yet."""

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
    """The JSON envelope; what is absent stays empty, so that a body without any envelope is read as well."""

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
    """The event in a record. Never raises: what cannot be read has a reason code."""
    value = record.value
    if not value:
        return Unreadable("malformed", "the record has no value")
    if len(value) > VALUE_BYTES_MAX and not (record.topic in WRITTEN_BY_US and is_ours(record)):
        return Unreadable("too_large", f"{len(value)} bytes, at most {VALUE_BYTES_MAX} are read")
    if value[0] == 0:
        _, value = split_schema_id(value)
    if problem := _text_problem(value):
        return Unreadable("malformed", problem)
    named = _attributes(record)
    if isinstance(named, Unreadable):
        return named
    binary = ("ce_type" in named or "ce_specversion" in named) and not _says_structured(record)
    return _binary(record, named, value) if binary else _structured_or_bare(record, named, value)


def log_name(record: Record) -> str:
    """What logs and traces call a message: its `ce_id`, in whichever mode it came, else its place."""
    event = read_event(record)
    name = event.id if isinstance(event, Event) else id_of(record) or _place(record)
    return name[:NAME_CHARACTERS_MAX]


def log_fields(record: Record) -> dict[str, Any]:
    """What a log line says of a record: its name, and where it stands."""
    return {"ce_id": log_name(record), "topic": record.topic, "partition": record.partition, "offset": record.offset}


def split_schema_id(value: bytes) -> tuple[bytes, bytes]:
    """Confluent's prefix, if there is one, and what follows it."""
    at = _CONFLUENT_PREFIX_BYTES if value[:1] == b"\0" and len(value) >= _CONFLUENT_PREFIX_BYTES else 0
    return value[:at], value[at:]


def _says_structured(record: Record) -> bool:
    """Whether its content type is that of an envelope, whose attributes headers may repeat."""
    for name, content in record.headers:
        if name.lower() == "content-type" and (content or b"").lower().startswith(_ENVELOPE):
            return True
    return False


def is_ours(record: Record) -> bool:
    """Whether one of our workers wrote it."""
    return ("ce_source", SOURCE) in record.headers


def id_of(record: Record) -> str:
    """Its `ce_id`; empty where it has none."""
    return _header(record, "ce_id")


def split_id(record: Record, separator: str = "/") -> tuple[str, int] | None:
    """What its `ce_id` names, and the number behind it: `order/7`, `order/v7`; None if the id is not of that form."""
    of, _, number = id_of(record).rpartition(separator)
    return (of, int(number)) if of and number.isdecimal() else None


def type_of(record: Record) -> str:
    """Its `ce_type`; empty where it has none."""
    return _header(record, "ce_type")


def _header(record: Record, wanted: str) -> str:
    found = next((content for name, content in record.headers if name == wanted), None)
    return (found or b"").decode("utf-8", "replace")


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
    """The headers that we read; a trace that is not text is left out: it must not keep money from moving."""
    named: dict[str, str] = {}
    for name, content in record.headers:
        if name in _ATTRIBUTES and content is not None:
            try:
                named[name] = content.decode()
            except UnicodeDecodeError:
                if name not in _TRACES:
                    return Unreadable("malformed", f"the header {name} is not UTF-8")
            else:
                if "\0" in named[name] and name not in _TRACES:
                    return Unreadable("malformed", f"the header {name} contains U+0000")
    return named


def _binary(record: Record, named: dict[str, str], value: bytes) -> Event | Unreadable:
    if not (type_ := named.get("ce_type")):
        return Unreadable("malformed", "the header ce_type is missing")
    return Event(type_, named.get("ce_id") or _place(record), named.get("ce_time"), _trace(named), value)


def _structured_or_bare(record: Record, named: dict[str, str], value: bytes) -> Event | Unreadable:
    try:
        envelope = _structured.decode(value)
    except msgspec.ValidationError:
        return Unreadable("malformed", "the value is not a JSON object")
    except (msgspec.DecodeError, RecursionError) as problem:
        return Unreadable("malformed", f"the value is not JSON: {problem}")
    if envelope.specversion is None:
        return _bare(record, named, value)
    if not isinstance(envelope.type, str) or not envelope.type:
        return Unreadable("malformed", "the envelope's type is missing or not a string")
    data = _data(envelope)
    if data is None:
        return Unreadable("malformed", "the envelope has no data")
    trace = envelope.traceparent if isinstance(envelope.traceparent, str) else None
    id_ = envelope.id if isinstance(envelope.id, str) and envelope.id else _place(record)
    time = envelope.time if isinstance(envelope.time, str) else None
    return Event(envelope.type, id_, time, _trace(named) or _carried(trace), data)


def _bare(record: Record, named: dict[str, str], value: bytes) -> Event | Unreadable:
    type_ = TYPE_WITHOUT_ENVELOPE.get(record.topic)
    if type_ is None:
        return Unreadable("malformed", "no CloudEvents envelope, neither in headers nor in the value")
    return Event(type_, named.get("ce_id") or _place(record), named.get("ce_time"), _trace(named), value)


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


def _trace(named: dict[str, str]) -> str | None:
    return _carried(named.get("traceparent")) or _carried(named.get("ce_traceparent"))


def _carried(trace: str | None) -> str | None:
    """The trace, if it can be a header of the connector's request: one that cannot must not keep money from moving."""
    good = trace and trace.isascii() and trace.isprintable() and len(trace) <= TRACE_CHARACTERS_MAX
    return trace if good else None


def _place(record: Record) -> str:
    return f"{record.topic}-{record.partition}-{record.offset}"


def _text_problem(value: bytes) -> str | None:
    """Finds what PostgreSQL cannot store, U+0000 and lone surrogates, also in fields that nobody reads."""
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
    found: list[str] = []
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            found.append(one)
        elif isinstance(one, dict):
            found.extend(one)
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
    return "\n".join(found)
