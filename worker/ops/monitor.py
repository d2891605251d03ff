"""Looks up every 2 s what the topics do not say: consumer lag, living workers, their alerts, open dead letters."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
# Details of an alert that are sentences: the page shows them first, and all others with their names.
SENTENCES = ("why", "problem", "remedy")
# Errors that pass without a change of our code: a server that is away or slow, a database that is not migrated yet.
EXPECTED = (*SESSION_LOST, KafkaError, MigrationError)


class Alert(Struct, frozen=True):
    """An alert that is active in one worker."""

    code: str
    connector: str
    since: datetime
    says: str
    host: str


class Worker(Struct, frozen=True):
    """A worker process whose lease is valid."""

    role: str
    name: str
    host: str
    since: datetime
    partitions: int


class _LookFailedError(Exception):
    """One sentence that names the server that was asked; the cause is the error itself."""


class DeploymentMonitor:
    """Keeps the results of the last look. Where a server did not answer, its results stay and `problem` says so."""

    def __init__(self, settings: Settings, reader: Reader) -> None:
        self._reader = reader
        self._lag = LagReader(settings)
        self._task: asyncio.Task[None] | None = None
        self.lags: Lags = {}
        self.workers: list[Worker] = []
        self.alerts: list[Alert] = []
        self.dead_letters: dict[ReasonCode, int] = {}
        """Open dead letters by reason."""
        self._schema_checked = False
        self.problem: str | None = None
        """Why the last look failed, in one sentence; None: it did not."""
        self.revision = 0
        """Goes up whenever a look finds something different."""

    async def start(self) -> None:
        """Starts to look, until `stop`."""
        self._task = asyncio.create_task(self._look_forever(), name="deployment monitor")

    async def stop(self) -> None:
        if self._task is not None:
            await end([self._task])
        await self._lag.close()

    async def _look_forever(self) -> None:
        while True:
            before = self._results()
            try:
                await self._look()
            except _LookFailedError as failure:
                self._note(failure)
                await self._lag.close_quietly()
            else:
                if self.problem is not None:
                    telemetry.log.info("can look around again")
                self.problem = None
            if self._results() != before:
                self.revision += 1
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        deadline = asyncio.get_running_loop().time() + LOOK_SECONDS_MAX
        with _failing_as(describe_postgres_error):
            async with asyncio.timeout_at(deadline):
                await self._look_at_database()
        with _failing_as(describe_kafka_error):
            async with asyncio.timeout_at(deadline):
                self.lags = await self._lag.read()

    async def _look_at_database(self) -> None:
        async with self._reader.snapshot() as connection:
            # Once, as in the workers: the view goes on while a newer version is rolled out.
            if not self._schema_checked:
                await require_current(connection)
                self._schema_checked = True
            workers = await self._reader.rows(connection, "workers")
            letters = await dead_letters.count_open(connection)
        self.workers = [
            Worker(row["role"], row["member_id"], row["host"], row["joined_at"], row["partitions"]) for row in workers
        ]
        self.alerts = [_alert(fields, row["host"]) for row in workers for fields in json.loads(row["alerts"])]
        self.dead_letters = letters

    def _note(self, failure: _LookFailedError) -> None:
        previous, self.problem = self.problem, str(failure)
        if not isinstance(failure.__cause__, EXPECTED):
            telemetry.log.error("could not look around, for a reason that nobody foresaw", problem=self.problem,
                                exc_info=failure.__cause__)  # fmt: skip
        elif self.problem != previous:  # the same line every two seconds would bury the rest of the log
            telemetry.log.warning("could not look around", problem=self.problem)

    def _results(self) -> tuple[Any, ...]:
        return self.lags, self.workers, self.alerts, self.dead_letters, self.problem


@contextmanager
def _failing_as(describe: Callable[[BaseException], str]) -> Iterator[None]:
    """Raises any error as `_LookFailedError`, in the words for the server that is asked."""
    try:
        yield
    except Exception as problem:
        sentence = str(problem) if isinstance(problem, MigrationError) else describe(problem)
        raise _LookFailedError(sentence) from problem


def _alert(fields: dict[str, str], host: str) -> Alert:
    sentences = [fields[name] for name in SENTENCES if name in fields]
    named = (name for name in fields if name not in ("code", "connector", "since", *SENTENCES))
    says = "; ".join([*sentences, *(f"{name.replace('_', ' ')} {fields[name]}" for name in named)])
    return Alert(fields["code"], fields["connector"], datetime.fromisoformat(fields["since"]), says, host)
