"""A deployment with its own database and topics, and workers in processes that a test starts and kills."""

import asyncio
import os
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import orjson
from aiokafka.admin import AIOKafkaAdminClient

from tests.integration.ledger.harness import CONNECTORS
from tests.integration.stream.toy import TABLES
from tests.until import until
from worker.kafka import names, topics
from worker.kafka.connecting import client_options
from worker.kafka.murmur2 import partition_of
from worker.kafka.packing import pack
from worker.kafka.records import Outgoing, Record
from worker.kafka.sink import Sink
from worker.kafka.source import Source
from worker.settings import Settings, load
from worker.stack import StackEnv

PARTITIONS = 6
# A machine with more work than cores takes this long; every wait ends as soon as it can.
PATIENCE_SECONDS = 90.0
TOY = (sys.executable, "-m", "tests.integration.stream.toy")
LEDGER = (sys.executable, "-m", "worker", "ledger")


def environment_of(stack: StackEnv, database_url: str, topic_prefix: str, folder: Path) -> dict[str, str]:
    """The settings of a deployment; its connectors file is `folder`/connectors.toml."""
    file = folder / "connectors.toml"
    file.write_text(CONNECTORS)
    return {
        "KAFKA_BOOTSTRAP_SERVERS": stack.bootstrap_servers, "DATABASE_URL": database_url, "TOPIC_PREFIX": topic_prefix,
        "TOPIC_PARTITIONS": str(PARTITIONS), "CONNECTORS_FILE": str(file), "LOG_FORMAT": "json",
    }  # fmt: skip


@asynccontextmanager
async def deployed(environment: dict[str, str], folder: Path) -> AsyncIterator["StreamDeployment"]:
    """Yields a deployment with topics and no worker; at the end kills all workers and deletes all topics."""
    deployment = StreamDeployment(environment, folder)
    try:
        await deployment.open()
        yield deployment
    finally:
        await deployment.close()


class StreamDeployment:
    """`start` runs a worker in a process, `send` writes input records, `outputs` collects what workers publish."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self.environment = environment
        self.settings: Settings = load(environment)
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.sink = Sink(self.settings)
        self.database: asyncpg.Pool
        self.outputs: list[Record] = []
        self._watched = asyncio.Event()
        self._source = Source(self.settings, "watcher", (*names.TOPICS, *names.DEAD_LETTER_TOPICS), self._watched.set)
        self._watch: asyncio.Task[None] | None = None

    async def open(self) -> None:
        self.database = await asyncpg.create_pool(self.settings.database, min_size=1, max_size=3)
        await self.database.execute(TABLES)
        await topics.create_missing(self.settings)
        await self.sink.start()
        await self._source.start()
        await self._source.assign(
            {
                (topic, partition): 0
                for topic in (names.ORDERS, *names.DEAD_LETTER_TOPICS)
                for partition in range(PARTITIONS)
            }
        )
        self._watch = asyncio.create_task(self._collect())

    async def close(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        await self._source.stop()
        await self.sink.stop()
        await self.database.close()
        admin = AIOKafkaAdminClient(**client_options(self.settings))
        await admin.start()
        await admin.delete_topics([self.settings.topic(name) for name in names.TOPICS + names.DEAD_LETTER_TOPICS])
        await admin.close()

    def start(self, name: str, program: Sequence[str] = TOY, **more: str) -> subprocess.Popen[bytes]:
        """Starts a worker in a process of its own; its log is `<name>.log`."""
        environment = os.environ | self.environment | {"TOY_NAME": name} | more
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(program, env=environment, stdout=log, stderr=log)
        self.processes[name] = process
        return process

    async def take_all_and_stop(self, name: str) -> None:
        """Runs a worker until positions of all partitions are stored: owning them, it has yet to take them over."""

        async def taken() -> bool:
            stored = "SELECT count(DISTINCT partition) = $1 FROM ledger.positions"
            return bool(await self.database.fetchval(stored, PARTITIONS))

        self.start(name)
        await self.until(taken, "positions of all partitions")
        assert await self.stop(name) == 0

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    async def stop(self, name: str) -> int:
        """Sends SIGTERM and returns the exit code."""
        self.processes[name].terminate()
        return await self.exit_code(name)

    async def exit_code(self, name: str) -> int:
        """Waits until a worker has ended."""
        process = self.processes[name]

        async def ended() -> bool:
            return process.poll() is not None

        await self.until(ended, f"the end of worker {name}")
        return int(process.returncode)

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    async def end_sessions(self) -> None:
        """Makes the database end the sessions of all workers."""
        await self.database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name LIKE 'settlement-ledger %'"
        )

    async def send(
        self, order_id: str, value: bytes = b"{}", partition: int | None = None, topic: str = names.INVOICES
    ) -> Record:
        """Writes one record, to its order's home partition unless another is given, and returns it with its offset."""
        return (await self.send_many([(order_id, value, partition)], topic))[0]

    async def send_many(self, wanted: list[tuple[str, bytes, int | None]], topic: str = names.INVOICES) -> list[Record]:
        sent = []
        for order_id, value, partition in wanted:
            home = self.home(order_id) if partition is None else partition
            acks = await self.sink.queue(pack([Outgoing(topic, home, order_id.encode(), value, [])]))
            sent.append((order_id, value, home, acks[0][2]))
        return [Record(topic, home, (await ack).offset, order_id.encode(), value, [], 0)
                for order_id, value, home, ack in sent]  # fmt: skip

    def home(self, order_id: str) -> int:
        return partition_of(order_id, PARTITIONS)

    async def until(self, condition: Callable[[], Awaitable[Any]], what: str) -> Any:
        """Waits as `tests.until` does; a failure shows the end of each worker's log."""
        return await until(condition, PATIENCE_SECONDS, what, explain=self._ends_of_logs)

    def _ends_of_logs(self) -> str:
        return "\n".join(f"--- {path.name}\n{path.read_text()[-2500:]}" for path in self.folder.glob("*.log"))

    async def owners(self) -> dict[int, str | None]:
        rows = await self.database.fetch("SELECT partition, owner FROM ledger.partitions ORDER BY partition")
        return {row["partition"]: row["owner"] for row in rows}

    async def shares(self) -> list[int]:
        """How many partitions each owner has; empty until all are owned."""
        owners = await self.owners()
        if len(owners) < PARTITIONS or None in owners.values():
            return []
        return sorted(list(owners.values()).count(owner) for owner in set(owners.values()))

    async def until_shared(self, *shares: int) -> None:
        async def shared() -> bool:
            return await self.shares() == sorted(shares)

        await self.until(shared, f"shares of {sorted(shares)}")

    async def until_seen(self, number: int) -> None:
        async def seen() -> bool:
            return int(await self.database.fetchval("SELECT count(*) FROM public.toy_seen")) >= number

        await self.until(seen, f"{number} records consumed")

    async def until_quiet(self) -> None:
        """Waits until everything published was acknowledged and deleted from the outbox."""

        async def quiet() -> bool:
            return not await self.database.fetchval("SELECT count(*) FROM ledger.outbox")

        await self.until(quiet, "an empty outbox")

    async def until_published(self, orders: dict[str, int]) -> None:
        """Waits until the topic has these versions of the orders, or later ones."""

        async def published() -> bool:
            newest: dict[str, int] = defaultdict(int)
            for order_id, version in self.states():
                newest[order_id] = max(newest[order_id], version)
            return all(newest[order_id] >= version for order_id, version in orders.items())

        await self.until(published, "all orders' last versions")

    def states(self) -> list[tuple[str, int]]:
        """Order id and version of each record of settlement.orders.v1, in the order of its partition."""
        states = [orjson.loads(record.value or b"") for record in self.outputs if record.topic == names.ORDERS]
        return [(state["orderId"], state["version"]) for state in states]

    def dead(self) -> list[Record]:
        return [record for record in self.outputs if record.topic.endswith(names.DEAD_LETTER_SUFFIX)]

    async def check_orders(self, sent: dict[str, int]) -> None:
        """Checks that each order advanced once per record and that its states were published in order without gaps."""
        await self.until_published(sent)
        rows = await self.database.fetch("SELECT order_id, version FROM public.toy_orders")
        assert {row["order_id"]: row["version"] for row in rows} == sent
        versions: dict[str, list[int]] = defaultdict(list)
        for order_id, version in self.states():
            versions[order_id].append(version)
        for order_id, number in sent.items():
            first_seen = list(dict.fromkeys(versions[order_id]))
            assert first_seen == list(range(1, number + 1)), (order_id, versions[order_id])
            assert versions[order_id][-1] == number, (order_id, versions[order_id])

    async def _collect(self) -> None:
        while True:
            self._watched.clear()
            self.outputs += self._source.take(100_000, 1 << 30)
            await self._watched.wait()
