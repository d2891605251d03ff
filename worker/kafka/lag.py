"""How far the groups are behind the ends of their topics, partition by partition, as every lag tool counts it.

What an open transaction holds back counts: it waits, and whoever looks has to see that.
"""

from collections.abc import Mapping, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from worker.kafka import names
from worker.kafka.connecting import client_options
from worker.settings import Settings

Lags = dict[str, list[int]]


class LagReader:
    """Asks the brokers, as often as `read` is called."""

    def __init__(self, settings: Settings, read: Mapping[str, Sequence[str]] = names.READ) -> None:
        self._settings = settings
        self._read = read
        self._admin: AIOKafkaAdminClient | None = None
        self._consumer: AIOKafkaConsumer | None = None

    async def read(self) -> Lags:
        """Role → records that wait in each partition; nothing committed counts from the partition's first record."""
        if self._admin is None:
            await self._open()
        assert self._admin is not None
        assert self._consumer is not None
        found: Lags = {}
        for role, topics in self._read.items():
            places = [TopicPartition(self._settings.topic(name), number)
                      for name in topics for number in range(self._settings.topic_partitions)]  # fmt: skip
            ends = await self._consumer.end_offsets(places)
            group = self._settings.topic(names.group(role))
            committed = await self._admin.list_consumer_group_offsets(group, partitions=places)
            firsts = await self._consumer.beginning_offsets(places)
            found[role] = [0] * self._settings.topic_partitions
            for place in places:
                known = committed.get(place)
                done = firsts[place] if known is None or known.offset < 0 else known.offset
                found[role][place.partition] += max(0, ends[place] - done)
        return found

    async def close(self) -> None:
        """Lets go of the brokers; the next `read` comes back to them."""
        admin, consumer, self._admin, self._consumer = self._admin, self._consumer, None, None
        if consumer is not None:
            await consumer.stop()
        if admin is not None:
            await admin.close()

    async def _open(self) -> None:
        options = client_options(self._settings)
        admin = AIOKafkaAdminClient(**options)
        consumer = AIOKafkaConsumer(**options, isolation_level="read_uncommitted")
        await admin.start()
        self._admin = admin
        await consumer.start()
        self._consumer = consumer
