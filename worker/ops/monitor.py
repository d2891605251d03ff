"""Looks up every 2 s what the topics do not say: consumer lag, living workers, their alerts, open dead letters."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
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


class Outage(Struct, frozen=True):
    """A server that did not answer the last look."""

    stale: str
    """What the pages still show as it was."""
    problem: str
    """Why it did not answer, in one sentence."""
    answered_at: datetime | None
    """When it last answered; None: it never did."""


class _Server(Struct, frozen=True):
    stale: str
    describe: Callable[[BaseException], str]


DATABASE = _Server("Workers, alerts and the number of dead letters", describe_postgres_error)
KAFKA = _Server("Orders, sums and lag", describe_kafka_error)


class DeploymentMonitor:
    """Keeps the results of the last look. Where a server did not answer, its results stay and `outages` says so."""

    def __init__(self, settings: Settings, reader: Reader) -> None:
        self._reader = reader
        self._lag = LagReader(settings)
        self._tasks: list[asyncio.Task[None]] = []
        self._answered_at: dict[_Server, datetime] = {}
        self._outages: dict[_Server, Outage] = {}
        self.lags: Lags = {}
        self.workers: list[Worker] = []
        self.alerts: list[Alert] = []
        self.dead_letters: dict[ReasonCode, int] = {}
        """Open dead letters by reason."""
        self._schema_checked = False
        self.revision = 0
        """Goes up whenever a look finds something different."""

    @property
    def outages(self) -> tuple[Outage, ...]:
        return tuple(self._outages.values())

    @property
    def has_looked(self) -> bool:
        """Whether both servers have answered at least once; until then nothing found says nothing."""
        return self._answered_at.keys() == {DATABASE, KAFKA}

    def is_idle(self, role: str) -> bool:
        """Whether no worker of this role lives, as far as is known."""
        return self.has_looked and all(worker.role != role for worker in self.workers)

    async def start(self) -> None:
        """Starts to look, until `stop`: at each server by itself, as one that hangs says nothing of the other."""
        self._tasks = [
            asyncio.create_task(self._look_at_database_forever(), name="look at the database"),
            asyncio.create_task(self._look_at_brokers_forever(), name="look at the brokers"),
        ]

    async def stop(self) -> None:
        await end(self._tasks)
        await self._lag.close()

    async def _look_at_database_forever(self) -> None:
        while True:
            await self._look(DATABASE, self._look_at_database)
            await asyncio.sleep(LOOK_SECONDS)

    async def _look_at_brokers_forever(self) -> None:
        while True:
            if not await self._look(KAFKA, self._look_at_brokers):
                await self._lag.close_quietly()
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self, server: _Server, look: Callable[[], Awaitable[None]]) -> bool:
        """Whether the server answered."""
        before = self._results()
        try:
            async with asyncio.timeout(LOOK_SECONDS_MAX):
                await look()
        except Exception as problem:  # noqa: BLE001 - the pages say so, and the next look may find an answer
            self._note(server, problem)
        else:
            self._answered_at[server] = datetime.now(UTC)
            if self._outages.pop(server, None) is not None:
                telemetry.log.info("can look around again")
        if self._results() != before:
            self.revision += 1
        return server not in self._outages

    async def _look_at_brokers(self) -> None:
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

    def _note(self, server: _Server, problem: Exception) -> None:
        sentence = str(problem) if isinstance(problem, MigrationError) else server.describe(problem)
        previous = self._outages.get(server)
        self._outages[server] = Outage(server.stale, sentence, self._answered_at.get(server))
        if not isinstance(problem, EXPECTED):
            telemetry.log.error("could not look around, for a reason that nobody foresaw", problem=sentence,
                                exc_info=problem)  # fmt: skip
        elif previous is None or previous.problem != sentence:  # the same line every two seconds would bury the rest
            telemetry.log.warning("could not look around", problem=sentence)

    def _results(self) -> tuple[Any, ...]:
        return self.lags, self.workers, self.alerts, self.dead_letters, self.outages


def _alert(fields: dict[str, str], host: str) -> Alert:
    sentences = [fields[name] for name in SENTENCES if name in fields]
    named = (name for name in fields if name not in ("code", "connector", "since", *SENTENCES))
    says = "; ".join([*sentences, *(f"{name.replace('_', ' ')} {fields[name]}" for name in named)])
    return Alert(fields["code"], fields["connector"], datetime.fromisoformat(fields["since"]), says, host)
