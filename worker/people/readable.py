"""A record as a person reads it: bytes as text, nothing longer than a page or a terminal can show."""

import msgspec
from msgspec import Struct

from worker.kafka.records import Record

# A producer may put a megabyte into the value or into one header, or a hundred thousand headers into a record.
VALUE_CHARACTERS_MAX, TEXT_CHARACTERS_MAX, HEADERS_MAX = 10_000, 500, 50


class ReadableRecord(Struct, frozen=True):
    """The parts of a record as text, each cut where it is too long."""

    value: str
    key: str | None
    headers: list[tuple[str, str]]
    headers_left_out: int


def readable_record(record: Record) -> ReadableRecord:
    """The record as the page and the command line show it; `--json` has all of it."""
    return ReadableRecord(
        _cut(readable(record.value or b""), VALUE_CHARACTERS_MAX),
        None if record.key is None else short(record.key),
        [(_cut(name), short(content or b"")) for name, content in record.headers[:HEADERS_MAX]],
        max(0, len(record.headers) - HEADERS_MAX),
    )


def readable(value: bytes) -> str:
    """JSON in lines; what is no JSON as it came, and bytes that are no text escaped."""
    try:
        return msgspec.json.format(value, indent=2).decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _text(value)


def short(content: bytes) -> str:
    """As text that fits into a line or a few."""
    return _cut(_text(content))


def _text(content: bytes) -> str:
    return content.decode("utf-8", "backslashreplace")


def _cut(text: str, characters_max: int = TEXT_CHARACTERS_MAX) -> str:
    """The text, or its beginning and how long it is."""
    if len(text) <= characters_max:
        return text
    return f"{text[:characters_max]} … ({len(text):,} characters in all; the command line shows them with --json)"
