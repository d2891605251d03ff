"""What the pages and the command line say alike."""

from collections.abc import Mapping
from typing import Any

from worker.domain.money import to_major
from worker.domain.order import Operation
from worker.kafka import names

# What a command asks, as people say it; messages and JSON say settle, refund, cancel.
OPERATIONS: dict[Operation, str] = {"settle": "capture", "refund": "refund", "cancel": "void"}


def duration(seconds: float) -> str:
    """`8 s`, `12 min`, `3 h`, `5 d`: in the largest unit of which there are at least two."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} s"


def describe_decision(decision: Mapping[str, Any], currency: str) -> str:
    """`retry`, `abandon`, `resolve as done, 60.00 BRL under S-77`, `resolve as not done`."""
    if decision["action"] != "resolve":
        return str(decision["action"])
    if not decision["value"]:
        return "resolve as not done"
    return f"resolve as done, {to_major(decision['value'], currency)} {currency} under {decision['operation_id']}"


def describe_done(done: int, asked: int, currency: str) -> str:
    """`0.40 of 40.00 BRL booked as done; 39.60 counts as NOT done: it may be asked for again`."""
    if done > asked:
        return (
            f"{to_major(done, currency)} {currency} booked as done, {to_major(done - asked, currency)} more than asked"
        )
    rest = f"; {to_major(asked - done, currency)} counts as NOT done: it may be asked for again" if done < asked else ""
    return f"{to_major(done, currency)} of {to_major(asked, currency)} {currency} booked as done{rest}"


def describe_result(decision: Mapping[str, Any]) -> str:
    """What came of a decision."""
    if decision["refused"]:
        return f"refused: {decision['refused']}"
    return "applied" if decision["applied_at"] else "noted; the delivery worker applies it"


def describe_status(topic: str, status: str) -> str:
    """The status of a dead letter. A command is neither replayed nor discarded: a person has decided about it (R39)."""
    return "decided" if topic == names.COMMANDS and status != "open" else status
