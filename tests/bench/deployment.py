"""A separate deployment for each round of a benchmark: a database, topics, and programs that are always ended."""

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from tests.bench.load import CONNECTORS
from tests.until import until
from worker.kafka import names, topics
from worker.kafka.connecting import client_options
from worker.kafka.packing import pack
from worker.kafka.records import Outgoing
from worker.kafka.sink import Sink
from worker.postgres.migrations import migrate
from worker.settings import load
from worker.stack import StackEnv, down, up

PARTITIONS = 12
POLL_SECONDS = 0.02
STALLED_SECONDS = 60.0
DRAIN_SECONDS = 30.0
STEP_RECORDS = 5_000


@contextmanager
def running_stack() -> Iterator[StackEnv]:
    """The broker and the database of the environment, or an embedded stack in a temporary home."""
    bootstrap, database = os.environ.get("KAFKA_BOOTSTRAP_SERVERS"), os.environ.get("DATABASE_URL")
    if bootstrap and database:
        yield StackEnv(bootstrap, database)
        return
    with TemporaryDirectory(prefix="bench-") as folder:
        home = Path(folder) / "home"
        try:
            yield up(home)
        finally:
            down(home)


class Deployment:
    """The database, the topics and the programs of one round."""

    def __init__(self, stack: StackEnv, folder: Path) -> None:
        self._stack = stack
        self.folder = folder
        self.name = f"bench_{secrets.token_hex(4)}"
        self.database_url = urlsplit(stack.database_url)._replace(path=f"/{self.name}").geturl()
        connectors = folder / "connectors.toml"
        connectors.write_text(CONNECTORS)
        self.environment = {
            "KAFKA_BOOTSTRAP_SERVERS": stack.bootstrap_servers, "DATABASE_URL": self.database_url,
            "TOPIC_PREFIX": f"{self.name}.", "TOPIC_PARTITIONS": str(PARTITIONS), "CONNECTORS_FILE": str(connectors),
            "LOG_LEVEL": "warning",
        }  # fmt: skip
        self.settings = load(self.environment)
        self._programs: list[subprocess.Popen[bytes]] = []
        self._sink = Sink(self.settings)
        self._consumer = AIOKafkaConsumer(**client_options(self.settings))

    async def open(self) -> None:
        await self._administer(f'CREATE DATABASE "{self.name}"')
        await migrate(self.database_url)
        await topics.create_missing(self.settings)
        await self._sink.start()
        await self._consumer.start()
        self.database = await asyncpg.connect(self.database_url)

    async def reconnect(self) -> None:
        """Connects to the database again, after it was killed."""
        self.database.terminate()
        self.database = await asyncpg.connect(self.database_url)

    async def close(self) -> None:
        for program in tuple(self._programs):
            self.kill(program)
        await self.database.close()
        await self._consumer.stop()
        await self._sink.stop()
        admin = AIOKafkaAdminClient(**client_options(self.settings))
        await admin.start()
        await admin.delete_topics([self.settings.topic(name) for name in names.TOPICS + names.DEAD_LETTER_TOPICS])
        await admin.close()
        await self._administer(f'DROP DATABASE "{self.name}" WITH (FORCE)')

    def start(self, *arguments: str, log: Path | None = None, **environment: str) -> subprocess.Popen[bytes]:
        """Starts `python -m …`; its output goes to `log`, by default the deployment's own log file."""
        with (log or self._log).open("ab") as output:
            program = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                env=os.environ | self.environment | environment, stdout=output, stderr=output,
            )  # fmt: skip
        self._programs.append(program)
        return program

    @property
    def newest(self) -> subprocess.Popen[bytes]:
        """The program that was started last."""
        return self._programs[-1]

    def raise_if_exited(self) -> None:
        """Ends the benchmark if a program has exited by itself."""
        for program in self._programs:
            if program.poll() is not None:
                raise SystemExit(f"a program exited unexpectedly: {self._log_tail()}")

    async def stop(self, program: subprocess.Popen[bytes]) -> None:
        """Sends SIGTERM and waits until the program has drained."""
        program.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(program.wait, DRAIN_SECONDS)
        self._programs.remove(program)
        if code != 0:
            raise SystemExit(f"a program exited with {code} when it was stopped: {self._log_tail()}")

    def kill(self, program: subprocess.Popen[bytes]) -> None:
        """Ends a program without a drain; also removes one that has exited by itself."""
        self._programs.remove(program)
        program.kill()
        program.wait()

    async def send(self, records: Iterable[Outgoing]) -> int:
        """Sends all records; returns when the broker has acknowledged them."""
        sent = 0
        buffered = []
        for record in records:
            buffered.append(record)
            if len(buffered) == STEP_RECORDS:
                sent += await self._flush(buffered)
        return sent + await self._flush(buffered)

    @property
    def _log(self) -> Path:
        return self.folder / "programs.log"

    def _log_tail(self) -> str:
        return self._log.read_text()[-2_000:]

    async def queue(self, records: list[Outgoing]) -> None:
        """Sends the records without waiting for the acknowledgements."""
        await self._sink.queue(pack(records))

    async def until_shared(self, workers: int) -> None:
        """Waits until this number of workers owns all partitions of the ledger, in equal shares."""
        shared = (
            "SELECT count(*) = $1 AND sum(owned) = $2 AND max(owned) - min(owned) <= 1 "
            "FROM (SELECT count(*) AS owned FROM ledger.partitions WHERE owner IS NOT NULL GROUP BY owner) AS shares"
        )
        await until(
            lambda: self.database.fetchval(shared, workers, PARTITIONS), STALLED_SECONDS, look_seconds=POLL_SECONDS
        )

    async def until_consumed(self, topic: str, number: int) -> None:
        """Waits until the results of this number of records of the topic are committed."""
        consumed = "SELECT coalesce(sum(next_offset), 0)::bigint FROM ledger.positions WHERE topic = $1"
        await self._until_count(number, lambda: self.database.fetchval(consumed, topic), f"the position in {topic}")

    async def _flush(self, buffered: list[Outgoing]) -> int:
        await self._sink.publish(buffered)
        number = len(buffered)
        buffered.clear()
        return number

    async def written(self, topic: str) -> int:
        """How many records have been written to the topic."""
        partitions = [TopicPartition(self.settings.topic(topic), number) for number in range(PARTITIONS)]
        return sum((await self._consumer.end_offsets(partitions)).values())

    async def until_written(self, topic: str, number: int) -> float:
        """Waits until the topic has this number of records; returns the rate since the first of them appeared."""
        return await self._until_count(number, lambda: self.written(topic), topic)

    async def _until_count(self, number: int, count: Callable[[], Awaitable[int]], what: str) -> float:
        """Polls until the count is reached; returns the rate since its first growth. Ends a benchmark that stalls."""
        initial = current = await count()
        started = last_growth = time.monotonic()
        first_growth: tuple[float, int] | None = None
        while current < number:
            await asyncio.sleep(POLL_SECONDS)
            now, latest = time.monotonic(), await count()
            if latest > current:
                current, last_growth = latest, now
                first_growth = first_growth or (now, latest)
            self.raise_if_exited()
            if now - last_growth > STALLED_SECONDS:
                raise SystemExit(f"{what} has stalled at {current} of {number} records: {self._log_tail()}")
        since, offset = first_growth or (started, initial)
        return (current - offset) / (time.monotonic() - since) if current > offset else 0.0

    async def _administer(self, statement: str) -> None:
        connection = await asyncpg.connect(self._stack.database_url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@asynccontextmanager
async def fresh_deployment(stack: StackEnv) -> AsyncIterator[Deployment]:
    """A deployment that exists inside the block and is deleted afterwards."""
    with TemporaryDirectory(prefix="bench-") as folder:
        deployment = Deployment(stack, Path(folder))
        await deployment.open()
        try:
            yield deployment
        finally:
            await deployment.close()
