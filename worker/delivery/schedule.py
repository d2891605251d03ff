"""When a command is sent again, and when its horizon ends, so that a person has to resolve it."""

import random
from collections.abc import Iterable

from worker.connector.answers import RETRY_AFTER_SECONDS_MAX, Answer
from worker.connector.file import Connector
from worker.delivery.job import Job
from worker.domain.terms import HOUR_MS

# Retries are never earlier than the schedule says; those that failed together are spread over this share of the delay.
JITTER = 0.2


def put_off(job: Job, connector: Connector, answer: Answer, now_ms: int) -> None:
    """Sets when the command is due again, after an attempt without a definite answer.

    Only an attempt that may have had an effect begins the horizon and moves the schedule on (R33). A connector that
    was not reached, was busy or refused everybody has done nothing yet (R34, R36).
    """
    match answer.fate:
        case "unknown":
            job.uncertain, job.doubts = True, job.doubts + 1
            job.due_ms = _next_attempt_ms(job, connector, now_ms, answer.hold_seconds)
        case "not_sent" if answer.hold_seconds is None:
            job.due_ms = _next_attempt_ms(job, connector, now_ms, first=True)
        case "busy":  # the whole connector waits in memory; the command's due time also survives a change of owner
            job.due_ms = now_ms + round(1000 * (answer.hold_seconds or 0))
        case _:
            job.due_ms = now_ms
    if not job.uncertain:
        job.first_attempt_ms = None


def _next_attempt_ms(
    job: Job, connector: Connector, now_ms: int, hold_seconds: float | None = None, *, first: bool = False
) -> int:
    """By the connector's schedule (`first`: its first entry) or `Retry-After`; never past an unknown's horizon."""
    delays = connector.retry_seconds
    seconds = delays[0 if first else min(job.doubts, len(delays)) - 1]
    seconds *= random.uniform(1.0, 1.0 + JITTER)  # noqa: S311 - only spreads the load
    due = now_ms + round(1000 * max(seconds, hold_seconds or 0.0))
    return min(due, _ends_ms(job, connector)) if job.uncertain else due


def longest_wait_ms(connectors: Iterable[Connector]) -> int:
    """The longest time for which a command may be put off: by `Retry-After`, or by one of these schedules."""
    seconds = max(RETRY_AFTER_SECONDS_MAX, *(max(one.retry_seconds) for one in connectors), 0.0)
    return round(1000 * seconds * (1.0 + JITTER))


def is_past_horizon(job: Job, connector: Connector | None, now_ms: int) -> bool:
    """Whether an unknown command was sent again for long enough (R33)."""
    return job.uncertain and connector is not None and now_ms >= _ends_ms(job, connector)


def horizon_ms(connector: Connector) -> int:
    """For how long an unknown command is sent again."""
    return round(connector.horizon_hours * HOUR_MS)


def _ends_ms(job: Job, connector: Connector) -> int:
    return (job.first_attempt_ms or 0) + horizon_ms(connector)
