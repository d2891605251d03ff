"""A deployment of its own for one round: a database, topics, and programs that are certainly ended."""

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
LOOK_SECONDS = 0.02
STALLED_SECONDS = 60.0
DRAIN_SECONDS = 30.0
STEP_RECORDS = 5_000


@contextmanager
def running_stack() -> Iterator[StackEnv]:
    """The broker and the database that the environment names, else an embedded stack in a scratch home."""
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
    """What one round works on."""

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
        """After the database was killed."""
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
        """Starts `python -m …`; what it says is kept, in the deployment's log unless said."""
        with (log or self._log).open("ab") as out:
            program = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                env=os.environ | self.environment | environment, stdout=out, stderr=out,
            )  # fmt: skip
        self._programs.append(program)
        return program

    @property
    def newest(self) -> subprocess.Popen[bytes]:
        """What was started last."""
        return self._programs[-1]

    def forget(self, program: subprocess.Popen[bytes]) -> None:
        """It was to end by itself, or was killed on purpose."""
        program.kill()
        program.wait()
        self._programs.remove(program)

    def look_after(self) -> None:
        """Ends the benchmark when a program ended by itself."""
        for program in self._programs:
            if program.poll() is not None:
                raise SystemExit(f"a program ended by itself: {self._last_words()}")

    async def stop(self, program: subprocess.Popen[bytes]) -> None:
        """SIGTERM, and the time to drain."""
        program.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(program.wait, DRAIN_SECONDS)
        self._programs.remove(program)
        if code != 0:
            raise SystemExit(f"a program ended with {code}: {self._last_words()}")

    def kill(self, program: subprocess.Popen[bytes]) -> None:
        """It has nothing to finish."""
        self._programs.remove(program)
        program.kill()
        program.wait()

    async def send(self, records: Iterable[Outgoing]) -> int:
        """Everything is with the broker when this returns."""
        sent = 0
        waiting = []
        for record in records:
            waiting.append(record)
            if len(waiting) == STEP_RECORDS:
                sent += await self._flush(waiting)
        return sent + await self._flush(waiting)

    @property
    def _log(self) -> Path:
        return self.folder / "programs.log"

    def _last_words(self) -> str:
        return self._log.read_text()[-2_000:]

    async def hand_over(self, records: list[Outgoing]) -> None:
        """The records are on their way; nobody waits for the acknowledgement."""
        await self._sink.hand_over(pack(records))

    async def until_shared(self, workers: int) -> None:
        """So many workers own the ledger's partitions, all of them, in equal shares."""
        shared = (
            "SELECT count(*) = $1 AND sum(mine) = $2 AND max(mine) - min(mine) <= 1 "
            "FROM (SELECT count(*) AS mine FROM ledger.partitions WHERE owner IS NOT NULL GROUP BY owner) AS shares"
        )
        await until(
            lambda: self.database.fetchval(shared, workers, PARTITIONS), STALLED_SECONDS, look_seconds=LOOK_SECONDS
        )

    async def until_consumed(self, topic: str, number: int) -> None:
        """What so many records of a topic caused is durable."""
        read = "SELECT coalesce(sum(next_offset), 0)::bigint FROM ledger.positions WHERE topic = $1"
        await self._until_many(number, lambda: self.database.fetchval(read, topic), f"the reading of {topic}")

    async def _flush(self, waiting: list[Outgoing]) -> int:
        await self._sink.publish(waiting)
        number = len(waiting)
        waiting.clear()
        return number

    async def written(self, topic: str) -> int:
        """How many records the topic has had."""
        places = [TopicPartition(self.settings.topic(topic), number) for number in range(PARTITIONS)]
        return sum((await self._consumer.end_offsets(places)).values())

    async def until_written(self, topic: str, number: int) -> float:
        """Waits for the topic to have so many records and returns the rate from the first look that saw some."""
        return await self._until_many(number, lambda: self.written(topic), topic)

    async def _until_many(self, number: int, look: Callable[[], Awaitable[int]], what: str) -> float:
        """The rate from the first look that saw more; ends the benchmark where it stands or a program has ended."""
        before = seen = await look()
        began = moved = time.monotonic()
        first: tuple[float, int] | None = None
        while seen < number:
            await asyncio.sleep(LOOK_SECONDS)
            now, found = time.monotonic(), await look()
            if found > seen:
                seen, moved = found, now
                first = first or (now, found)
            self.look_after()
            if now - moved > STALLED_SECONDS:
                raise SystemExit(f"{what} stands at {seen} of {number} records: {self._last_words()}")
        since, offset = first or (began, before)
        return (seen - offset) / (time.monotonic() - since) if seen > offset else 0.0

    async def _administer(self, statement: str) -> None:
        connection = await asyncpg.connect(self._stack.database_url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@asynccontextmanager
async def deployment(stack: StackEnv) -> AsyncIterator[Deployment]:
    """Open inside, gone afterwards."""
    with TemporaryDirectory(prefix="bench-") as folder:
        here = Deployment(stack, Path(folder))
        await here.open()
        try:
            yield here
        finally:
            await here.close()
