"""The lag of the consumer groups, partition by partition, as every lag tool counts it.

Records that an open transaction holds back count, since they wait. Records that retention deleted do not count, since
nobody can read them any more.
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
    """Keeps its connections from one `read` to the next."""

    def __init__(self, settings: Settings, read: Mapping[str, Sequence[str]] = names.READ) -> None:
        self._settings = settings
        self._read = read
        self._clients: tuple[AIOKafkaAdminClient, AIOKafkaConsumer] | None = None
        self._open = AsyncExitStack()

    async def read(self) -> Lags:
        """Role → number of unread records that each partition still has."""
        admin, reading = await self._connected()
        lags: Lags = {}
        for role, topics in self._read.items():
            partitions = [TopicPartition(self._settings.topic(name), number)
                          for name in topics for number in range(self._settings.topic_partitions)]  # fmt: skip
            ends = await reading.end_offsets(partitions)
            group = self._settings.topic(names.group(role))
            committed = await admin.list_consumer_group_offsets(group, partitions=partitions)
            firsts = await reading.beginning_offsets(partitions)
            lags[role] = [0] * self._settings.topic_partitions
            for partition in partitions:
                offset = committed[partition].offset if partition in committed else 0
                read_to = max(firsts[partition], offset)  # -1: nothing was committed
                lags[role][partition.partition] += max(0, ends[partition] - read_to)
        return lags

    async def topic_ids(self, topics: Sequence[str]) -> dict[str, UUID]:
        """The ids of these topics, requested over the same connections."""
        admin, _ = await self._connected()
        return await topic_ids(admin._client, topics)  # noqa: SLF001 - there is no public way to its connections

    async def close(self) -> None:
        """Closes the connections; the next `read` opens new ones."""
        self._clients = None
        await self._open.aclose()

    async def close_quietly(self) -> None:
        """Closes the connections, and only logs an error: it is no reason to stop measuring."""
        try:
            await self.close()
        except Exception:  # noqa: BLE001 - the next `read` opens other connections
            telemetry.log.exception("could not close the connections to the brokers")

    async def _connected(self) -> tuple[AIOKafkaAdminClient, AIOKafkaConsumer]:
        if self._clients is None:
            async with AsyncExitStack() as opening:
                admin = await opening.enter_async_context(admin_client(self._settings))
                reading = consumer(self._settings, isolation_level="read_uncommitted")
                self._clients = admin, await opening.enter_async_context(reading)
                self._open = opening.pop_all()
        return self._clients


async def committed_offsets(settings: Settings, group: str) -> dict[Place, int]:
    """The offsets that a consumer group has committed; topics without prefix."""
    async with admin_client(settings) as admin:
        committed = await admin.list_consumer_group_offsets(settings.topic(group))
    prefix = settings.topic_prefix
    return {(partition.topic.removeprefix(prefix), partition.partition): at.offset
            for partition, at in committed.items()}  # fmt: skip
