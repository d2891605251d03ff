"""How far the groups are behind the ends of their topics, partition by partition, as every lag tool counts it.

What an open transaction holds back counts: it waits, and whoever looks has to see that. What retention has deleted does
not: nobody can read it any more.
"""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from uuid import UUID

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from worker import telemetry
from worker.kafka import names
from worker.kafka.connecting import admin_client, consumer
from worker.kafka.records import Place
from worker.kafka.topic_ids import topic_ids
from worker.settings import Settings

Lags = dict[str, list[int]]


class LagReader:
    """Asks the brokers, as often as `read` is called."""

    def __init__(self, settings: Settings, read: Mapping[str, Sequence[str]] = names.READ) -> None:
        self._settings = settings
        self._read = read
        self._clients: tuple[AIOKafkaAdminClient, AIOKafkaConsumer] | None = None
        self._open = AsyncExitStack()

    async def read(self) -> Lags:
        """Role → records that wait in each partition, of those that are still there."""
        admin, reading = self._clients = self._clients or await self._connected()
        found: Lags = {}
        for role, topics in self._read.items():
            places = [TopicPartition(self._settings.topic(name), number)
                      for name in topics for number in range(self._settings.topic_partitions)]  # fmt: skip
            ends = await reading.end_offsets(places)
            group = self._settings.topic(names.group(role))
            committed = await admin.list_consumer_group_offsets(group, partitions=places)
            firsts = await reading.beginning_offsets(places)
            found[role] = [0] * self._settings.topic_partitions
            for place in places:
                known = committed.get(place)
                done = max(firsts[place], known.offset if known else 0)  # -1: nothing was committed
                found[role][place.partition] += max(0, ends[place] - done)
        return found

    async def topic_ids(self, topics: Sequence[str]) -> dict[str, UUID]:
        """The ids of these topics, asked over the same connections."""
        admin, _ = self._clients = self._clients or await self._connected()
        return await topic_ids(admin._client, topics)  # noqa: SLF001 - there is no public way to its connections

    async def close(self) -> None:
        """Closes the connections; the next `read` opens new ones."""
        self._clients = None
        await self._open.aclose()

    async def close_quietly(self) -> None:
        """As `close`; a connection that cannot even be closed is no reason to stop looking."""
        try:
            await self.close()
        except Exception:  # noqa: BLE001 - whatever it is, the next `read` begins with other connections
            telemetry.log.exception("could not close the connections to the brokers")

    async def _connected(self) -> tuple[AIOKafkaAdminClient, AIOKafkaConsumer]:
        async with AsyncExitStack() as opening:
            admin = await opening.enter_async_context(admin_client(self._settings))
            reading = consumer(self._settings, isolation_level="read_uncommitted")
            both = admin, await opening.enter_async_context(reading)
            self._open = opening.pop_all()
        return both


async def committed_offsets(settings: Settings, group: str) -> dict[Place, int]:
    """How far a worker has told Kafka that it has read; topics without prefix."""
    async with admin_client(settings) as admin:
        found = await admin.list_consumer_group_offsets(settings.topic(group))
    prefix = settings.topic_prefix
    return {(place.topic.removeprefix(prefix), place.partition): at.offset for place, at in found.items()}
