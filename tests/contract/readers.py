"""How our programs read a message's data, in every envelope that the contract allows."""

import json
from typing import Any

from worker.delivery.taking import read_job
from worker.kafka import names
from worker.kafka.envelope import Unreadable, binary_headers
from worker.kafka.records import Record
from worker.ledger.reading import read_fact
from worker.stream.cycle import Cycle

# None: it is read. Otherwise reason code and message.
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
    """The data in one of the envelopes; `bare` is an invoice's body alone."""
    headers: list[tuple[str, bytes]] = []
    if envelope == "binary":
        headers = binary_headers(type_, "id-1", "2026-01-15T12:00:00Z", source=b"/erp")
    elif envelope == "structured":
        around = {"specversion": "1.0", "id": "id-1", "source": "/erp", "type": type_, "time": "2026-01-15T12:00:00Z"}
        data = json.dumps(around)[:-1].encode() + b', "data": ' + data + b"}"
    return Record(topic or topic_of(type_), 0, 0, b"v1042", data, headers, 0)


def verdict(one: Record) -> Verdict:
    """Reason and message with which the worker that reads this topic refuses the record; None: it accepts it."""
    if one.topic == names.COMMANDS:
        cycle = Cycle(None, [one], {}, 0, 12)  # reading a command asks no database
        job = read_job(cycle, one)
        return None if job is not None else (cycle.dead[0].reason, cycle.dead[0].message)
    found = read_fact(one)
    return (found.reason, found.message) if isinstance(found, Unreadable) else None


def verdict_of(type_: str, data: Any, envelope: str = "binary") -> Verdict:
    return verdict(record(type_, json.dumps(data).encode(), envelope))
