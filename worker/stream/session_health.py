"""What sessions that fell say of the next one: how long to wait for it, whether that is an alert, when all is well."""

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
# A session that worked so long has shown that the trouble was over.
STEADY_SECONDS = 10.0
# After so many in a row that began to work and fell sooner, a beginning shows nothing.
FALLS_MAX = 3
# One that owns nothing shows little sooner: the partitions may be with another worker that fails to take them.
IDLE_SECONDS = 60.0
# A transaction that fails again so long after it first did is held up by more than another worker: by somebody's lock.
HELD_UP_SECONDS = 3.0
# Longer is an alert: the pause before another attempt, or one that could not even begin to work.
ALERT_SECONDS = 1.0
STARTING = "starting"
KAFKA_AWAY = "kafka_away"
DATABASE_AWAY = "database_away"


class SessionHealth:
    """Outlives the sessions, and hears of each that it begins, works and falls."""

    def __init__(self) -> None:
        self.problem: str | None = STARTING
        """What is missing for readiness."""
        self._pause = PAUSE_SECONDS_MIN
        self._falls = 0
        self._began_at = 0.0
        self._works_since: float | None = None
        self._well: asyncio.TimerHandle | None = None
        self._repeated: tuple[str, float] | None = None

    def attempt_started(self) -> None:
        """Another session tries, or one takes partitions."""
        self.session_ended()
        self._repeated = None
        self._began_at, self._works_since = time.monotonic(), None

    def working(self, *, owns_partitions: bool) -> None:
        """What was met is over: said at once, and only later where sessions begin and fall one after another."""
        self._works_since = time.monotonic()
        seconds = STEADY_SECONDS if self._falls >= FALLS_MAX else 0
        if not owns_partitions and self.problem != STARTING:
            seconds = IDLE_SECONDS
        self._well = asyncio.get_running_loop().call_later(seconds, self._say_well)

    def session_ended(self) -> None:
        """However it came to that, nothing more is said of this session."""
        if self._well is not None:
            self._well.cancel()

    def session_failed(self, problem: Exception) -> float:
        """How many seconds to wait before the next; whoever looks is told what was met."""
        now = time.monotonic()
        if self._works_since is None:
            self._falls = 0
        elif now - self._works_since > STEADY_SECONDS:
            self._falls, self._pause = 0, PAUSE_SECONDS_MIN
        else:
            self._falls += 1
        self._tell(problem, in_vain=now - self._began_at if self._works_since is None else 0.0)
        pause, self._pause = self._pause, min(self._pause * 2, PAUSE_SECONDS_MAX)
        return pause * random.uniform(0.8, 1.2)  # noqa: S311 - no secret

    def transaction_failed(self, problem: Exception) -> None:
        """A session tries the same once more, and nothing else meanwhile."""
        met, now = _of_database(problem), time.monotonic()
        before, since = self._repeated or (None, now)
        self._repeated = met, since
        if met != before:
            telemetry.log.warning("the transaction is repeated", problem=met)
        if now - since > HELD_UP_SECONDS:
            self.problem = met
            telemetry.alert(DATABASE_AWAY, problem=met)

    def transaction_committed(self) -> None:
        """What was tried again is durable."""
        if self._repeated is not None and self._repeated[0] == self.problem:
            self._say_well()
        self._repeated = None

    def _tell(self, problem: Exception, in_vain: float) -> None:
        """`in_vain`: how many seconds the session tried without beginning to work."""
        of_kafka = isinstance(problem, KafkaError | GivenUpError | TopicsError)
        met = _of_kafka(problem) if of_kafka else _of_database(problem)
        if met != self.problem:  # the same again every two seconds would hide what else the log has
            telemetry.log.warning("the session ended, another one begins", problem=met, pause=self._pause)
        self.problem = met
        if max(self._pause, in_vain) > ALERT_SECONDS:
            telemetry.alert(KAFKA_AWAY if of_kafka else DATABASE_AWAY, problem=met)

    def _say_well(self) -> None:
        self.problem = None
        telemetry.clear_alert(KAFKA_AWAY)
        telemetry.clear_alert(DATABASE_AWAY)


def _of_kafka(problem: Exception) -> str:
    return str(problem) if isinstance(problem, TopicsError) else describe_kafka_error(problem)


def _of_database(problem: Exception) -> str:
    match problem:
        case UncertainCommitError():
            return f"{describe_postgres_error(problem.__cause__ or problem)}, before it said whether it had committed"
        case FencedError() | HeldUpError():
            return str(problem)
        case _:
            return describe_postgres_error(problem)
