"""What the topics do not say about now, looked up every 2 s: lag, living workers, their alerts, open dead letters."""

import asyncio
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from aiokafka.errors import KafkaError
from msgspec import Struct

from worker import telemetry
from worker.cancelled import end
from worker.kafka.dead_letters import ReasonCode
from worker.kafka.lag import LagReader, Lags
from worker.kafka.refusals import describe_kafka_error
from worker.ops.reading import Reader
from worker.people import dead_letters
from worker.postgres.connecting import SESSION_LOST
from worker.postgres.migrations import MigrationError, require_current
from worker.postgres.refusals import describe_postgres_error
from worker.settings import Settings

LOOK_SECONDS = 2.0
LOOK_SECONDS_MAX = 10.0
# What passes by itself: a server that is away, or slow.
EXPECTED = (*SESSION_LOST, KafkaError, MigrationError)


class Alert(Struct, frozen=True):
    """What lasts in one worker."""

    code: str
    connector: str
    since: datetime
    says: str
    host: str


class Worker(Struct, frozen=True):
    """One living process."""

    role: str
    name: str
    host: str
    since: datetime
    partitions: int


class Surroundings:
    """Keeps what the last look found; what could not be asked stays as it was, `problem` says who did not answer."""

    def __init__(self, settings: Settings, reader: Reader) -> None:
        self._reader = reader
        self._lag = LagReader(settings)
        self._task: asyncio.Task[None] | None = None
        self.lags: Lags = {}
        self.workers: list[Worker] = []
        self.alerts: list[Alert] = []
        self.dead_letters: dict[ReasonCode, int] = {}
        self._fits = False
        self._tells: Callable[[BaseException], str] = describe_postgres_error
        """Puts into words what went wrong with the server that is asked now."""
        self.problem: str | None = None
        self.stamp = 0
        """Changes whenever a look finds something different."""

    async def start(self) -> None:
        """Looks from here on, until `stop`."""
        self._task = asyncio.create_task(self._look_always(), name="surroundings")

    async def stop(self) -> None:
        """No look any more."""
        if self._task is not None:
            await end([self._task])
        await self._lag.close()

    async def _look_always(self) -> None:
        while True:
            before = self._seen()
            try:
                async with asyncio.timeout(LOOK_SECONDS_MAX):
                    await self._look()
                if self.problem is not None:
                    telemetry.log.info("can look around again")
                self.problem = None
            except EXPECTED as problem:
                met = self._sentence(problem)
                if met != self.problem:  # every two seconds the same would hide what else the log has
                    telemetry.log.warning("could not look around", problem=met)
                self.problem = met
                await self._lag.let_go()
            except Exception as problem:  # noqa: BLE001 - nobody waits for this task: its end would be seen by nobody
                self.problem = self._sentence(problem)
                telemetry.log.exception("could not look around, for a reason that nobody foresaw", problem=self.problem)
                await self._lag.let_go()
            if self._seen() != before:
                self.stamp += 1
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        self._tells = describe_postgres_error
        async with self._reader.snapshot() as connection:
            if not self._fits:  # as the workers, once: while another version is rolled out this one goes on
                await require_current(connection)
                self._fits = True
            workers = await self._reader.rows(connection, "workers")
            letters = await dead_letters.count_open(connection)
        self.workers = [
            Worker(one["role"], one["member_id"], one["host"], one["joined_at"], one["partitions"]) for one in workers
        ]
        self.alerts = [_alert(said, one["host"]) for one in workers for said in json.loads(one["alerts"])]
        self.dead_letters = letters
        self._tells = describe_kafka_error
        self.lags = await self._lag.read()

    def _sentence(self, problem: Exception) -> str:
        return str(problem) if isinstance(problem, MigrationError) else self._tells(problem)

    def _seen(self) -> tuple[Any, ...]:
        return self.lags, self.workers, self.alerts, self.dead_letters, self.problem


def _alert(said: dict[str, str], host: str) -> Alert:
    details = [text for name, text in said.items() if name not in ("code", "connector", "since")]
    return Alert(said["code"], said["connector"], datetime.fromisoformat(said["since"]), "; ".join(details), host)
