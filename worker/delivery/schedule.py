"""When a command is asked again, and when a person is asked instead."""

import random

from worker.connector.file import Connector
from worker.delivery.job import Job

# Nobody is asked sooner than the schedule says; a crowd that failed together comes back spread over this share more.
JITTER = 0.2
HOUR_MS = 3_600_000


def next_attempt_ms(
    job: Job, connector: Connector, now_ms: int, hold_seconds: float | None = None, *, first: bool = False
) -> int:
    """The connector's schedule (`first`: its first entry), or what it asks for; never past an unknown's horizon."""
    delays = connector.retry_seconds
    seconds = delays[0 if first else min(job.attempts, len(delays)) - 1]
    seconds *= random.uniform(1.0, 1.0 + JITTER)  # noqa: S311 - only spreads the load
    due = now_ms + round(1000 * max(seconds, hold_seconds or 0.0))
    return min(due, _horizon_ms(job, connector)) if job.uncertain else due


def is_past_horizon(job: Job, connector: Connector | None, now_ms: int) -> bool:
    """Whether an unknown command was asked for long enough (R33)."""
    return job.uncertain and connector is not None and now_ms >= _horizon_ms(job, connector)


def _horizon_ms(job: Job, connector: Connector) -> int:
    return (job.first_attempt_ms or 0) + round(connector.horizon_hours * HOUR_MS)
