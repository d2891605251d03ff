"""What the pages and the command line say alike."""

from collections.abc import Mapping
from typing import Any

from worker.domain.money import to_major


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


def describe_result(decision: Mapping[str, Any]) -> str:
    """What came of a decision."""
    if decision["refused"]:
        return f"refused: {decision['refused']}"
    return "applied" if decision["applied_at"] else "noted; the delivery worker applies it"
