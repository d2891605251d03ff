"""Reads a message's data with our programs, in every envelope that the contract allows."""

import json
from typing import Any

from worker.delivery.taking import read_job
from worker.kafka import names
from worker.kafka.envelope import Unreadable, binary_headers
from worker.kafka.records import Record
from worker.ledger.reading import read_fact
from worker.stream.cycle import Cycle

# None: the record is read. Otherwise the reason code and the message.
Verdict = tuple[str, str] | None
COMMANDS = ("command.settle", "command.refund", "command.cancel")
ENVELOPES = ("binary", "structured", "bare")


def topic_of(type_: str) -> str:
    if type_ in COMMANDS:
        return names.COMMANDS
    if type_.startswith("command."):
        return names.OUTCOMES
    return names.INVOICES if type_.startswith("invoice.") else names.ORDER_CHANGES


def record(type_: str, data: bytes, envelope: str = "binary", topic: str | None = None) -> Record:
    """The data in an envelope; `bare` is the body of an invoice without an envelope."""
    headers: list[tuple[str, bytes]] = []
    if envelope == "binary":
        headers = binary_headers(type_, "id-1", "2026-01-15T12:00:00Z", source=b"/erp")
    elif envelope == "structured":
        attributes = {
            "specversion": "1.0",
            "id": "id-1",
            "source": "/erp",
            "type": type_,
            "time": "2026-01-15T12:00:00Z",
        }
        data = json.dumps(attributes)[:-1].encode() + b', "data": ' + data + b"}"
    return Record(topic or topic_of(type_), 0, 0, b"v1042", data, headers, 0)


def verdict(record: Record) -> Verdict:
    """The reason and message with which the worker of this topic refuses the record; None if it reads it."""
    if record.topic == names.COMMANDS:
        cycle = Cycle(None, [record], {}, 0, 12)  # reading a command uses no database
        job = read_job(cycle, record)
        return None if job is not None else (cycle.dead[0].reason, cycle.dead[0].message)
    result = read_fact(record)
    return (result.reason, result.message) if isinstance(result, Unreadable) else None


def verdict_of(type_: str, data: Any, envelope: str = "binary") -> Verdict:
    return verdict(record(type_, json.dumps(data).encode(), envelope))
