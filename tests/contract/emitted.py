"""Validates headers and data of published records against the schemas."""

from collections.abc import Iterable

import orjson

from tests.contract.schemas import refusals
from worker.kafka import names
from worker.kafka.records import Outgoing, Record

_TYPES = {names.COMMANDS: "command", names.OUTCOMES: "command", names.EVENTS: "event", names.ORDERS: "order.state"}
_BIG_ENDIAN = ("kafka_dlt-original-partition", "kafka_dlt-original-offset", "kafka_dlt-original-timestamp")


def complaints(records: Iterable[Outgoing | Record]) -> list[str]:
    """The schema violations of the records; empty if all are valid."""
    return [complaint for record in records for complaint in _complaints(record)]


def _complaints(record: Outgoing | Record) -> list[str]:
    if record.topic.endswith(names.DEAD_LETTER_SUFFIX):
        return refusals("dead-letter-headers", dict(map(_readable, record.headers[-12:])))
    if record.topic not in _TYPES:
        return []
    headers = {name: (content or b"").decode() for name, content in record.headers}
    data, kind, expected = orjson.loads(record.value or b""), headers["ce_type"], _TYPES[record.topic]
    violations = refusals("output-headers", headers) + refusals(kind if expected == "command" else expected, data)
    if record.key != data["orderId"].encode() or (expected != "command" and kind != data.get("type", "order.state")):
        violations.append(f"{record.topic}: {record.headers} {record.key!r}")
    return violations


def _readable(header: tuple[str, bytes | None]) -> tuple[str, object]:
    name, content = header
    if name in _BIG_ENDIAN:
        return name, int.from_bytes(content or b"", "big", signed=True)
    return name, (content or b"").decode("utf-8", "replace")
