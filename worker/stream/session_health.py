"""Readiness and alerts of a worker, and the pause before its next session, from how its sessions work and fail."""

import asyncio
import random
import time

from aiokafka.errors import KafkaError

from worker import telemetry
from worker.cancelled import GivenUpError
from worker.kafka.refusals import describe_kafka_error
from worker.kafka.topics import TopicsError
from worker.postgres.refusals import describe_postgres_error
from worker.stream.faults import FencedError, HeldUpError, UncertainCommitError

PAUSE_SECONDS_MIN = 0.1
PAUSE_SECONDS_MAX = 2.0
# A session that worked for so long has shown that the problem is over.
STEADY_SECONDS = 10.0
# After so many sessions in a row that failed sooner, one that begins to work does not show that the problem is over.
SHORT_SESSIONS_MAX = 3
# A worker that owns nothing shows it only after this time: another worker may be failing to take the partitions.
IDLE_SECONDS = 60.0
# A transaction that is retried for longer is not held up by another worker, but by some other session's lock.
HELD_UP_SECONDS = 3.0
# Alerts where the pause before the next session is longer, or a session tried longer without beginning to work.
ALERT_SECONDS = 1.0
STARTING = "starting"
KAFKA_AWAY = "kafka_away"
DATABASE_AWAY = "database_away"


class SessionHealth:
    """Outlives the sessions; each reports here when it starts, works, fails and ends."""

    def __init__(self) -> None:
        self.problem: str | None = STARTING
        """Why the worker is not ready; None when it is."""
        self._pause = PAUSE_SECONDS_MIN
        self._short_sessions = 0
        self._began_at = 0.0
        self._works_since: float | None = None
        self._ready_timer: asyncio.TimerHandle | None = None
        self._retried: tuple[str, float] | None = None

    def attempt_started(self) -> None:
        """A session begins to connect, or to take partitions over."""
        self.session_ended()
        self._retried = None
        self._began_at, self._works_since = time.monotonic(), None

    def working(self, *, owns_partitions: bool) -> None:
        """The session works: we are ready at once, or only later where sessions fail one after another."""
        self._works_since = time.monotonic()
        seconds = STEADY_SECONDS if self._short_sessions >= SHORT_SESSIONS_MAX else 0
        if not owns_partitions and self.problem != STARTING:
            seconds = IDLE_SECONDS
        self._ready_timer = asyncio.get_running_loop().call_later(seconds, self._become_ready)

    def session_ended(self) -> None:
        """The session is over: it no longer makes us ready."""
        if self._ready_timer is not None:
            self._ready_timer.cancel()

    def session_failed(self, problem: Exception) -> float:
        """Notes why a session failed; returns how many seconds to wait before the next one."""
        now = time.monotonic()
        if self._works_since is None:
            self._short_sessions = 0
        elif now - self._works_since > STEADY_SECONDS:
            self._short_sessions, self._pause = 0, PAUSE_SECONDS_MIN
        else:
            self._short_sessions += 1
        self._report(problem, in_vain_seconds=now - self._began_at if self._works_since is None else 0.0)
        pause, self._pause = self._pause, min(self._pause * 2, PAUSE_SECONDS_MAX)
        return pause * random.uniform(0.8, 1.2)  # noqa: S311 - no secret

    def transaction_failed(self, problem: Exception) -> None:
        """A transaction is about to be retried. The session does nothing else meanwhile."""
        sentence, now = _database_sentence(problem), time.monotonic()
        before, since = self._retried or (None, now)
        self._retried = sentence, since
        if sentence != before:
            telemetry.log.warning("the transaction is repeated", problem=sentence)
        if now - since > HELD_UP_SECONDS:
            self.problem = sentence
            telemetry.alert(DATABASE_AWAY, problem=sentence)

    def transaction_committed(self) -> None:
        """A transaction is durable, perhaps after retries."""
        if self._retried is not None and self._retried[0] == self.problem:
            self._become_ready()
        self._retried = None

    def _report(self, problem: Exception, in_vain_seconds: float) -> None:
        """`in_vain_seconds`: how long the session tried without beginning to work."""
        is_of_kafka = isinstance(problem, KafkaError | GivenUpError | TopicsError)
        sentence = _kafka_sentence(problem) if is_of_kafka else _database_sentence(problem)
        if sentence != self.problem:  # the same line every two seconds would hide the rest of the log
            telemetry.log.warning("the session ended, another one begins", problem=sentence, pause=self._pause)
        self.problem = sentence
        if max(self._pause, in_vain_seconds) > ALERT_SECONDS:
            telemetry.alert(KAFKA_AWAY if is_of_kafka else DATABASE_AWAY, problem=sentence)

    def _become_ready(self) -> None:
        self.problem = None
        telemetry.clear_alert(KAFKA_AWAY)
        telemetry.clear_alert(DATABASE_AWAY)


def _kafka_sentence(problem: Exception) -> str:
    return str(problem) if isinstance(problem, TopicsError) else describe_kafka_error(problem)


def _database_sentence(problem: Exception) -> str:
    match problem:
        case UncertainCommitError():
            return f"{describe_postgres_error(problem.__cause__ or problem)}, before it said whether it had committed"
        case FencedError() | HeldUpError():
            return str(problem)
        case _:
            return describe_postgres_error(problem)
