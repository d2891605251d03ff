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
    delays = connector.retry_seconds
    match answer.fate:
        case "unknown":
            job.uncertain, job.doubts = True, job.doubts + 1
            delay = max(_spread(delays[min(job.doubts, len(delays)) - 1]), answer.hold_seconds or 0.0)
        case "not_sent" if answer.hold_seconds is None:
            delay = _spread(delays[0])
        case _:  # not begun, or the whole connector waits: if it is busy, the due time also survives a change of owner
            delay = answer.hold_seconds or 0.0
    job.due_ms = now_ms + round(1000 * delay)
    if job.uncertain:
        job.due_ms = min(job.due_ms, _ends_ms(job, connector))
    else:
        job.first_attempt_ms = None


def _spread(seconds: float) -> float:
    return seconds * random.uniform(1.0, 1.0 + JITTER)  # noqa: S311 - only spreads the load


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
