"""What brokers say of topics that are read: where partitions begin and end, which topics these are, who has led them.

It is asked by a client of its own that reads uncommitted: a position may be past the beginning of an open transaction.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar
from uuid import UUID

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    KafkaConnectionError,
    LeaderNotAvailableError,
    NodeNotReadyError,
    NotLeaderForPartitionError,
    RequestTimedOutError,
    UnknownTopicOrPartitionError,
)

from worker.kafka.connecting import client_options, start_client, stop_consumer
from worker.kafka.leader_epochs import ends_of_epochs, leader_epochs
from worker.kafka.records import UNKNOWN_EPOCH, Place, Position
from worker.kafka.topic_ids import topic_ids
from worker.settings import Settings

# A broker that restarts or hangs does not answer: another one does, or it does soon.
ANSWER_SECONDS_MAX = 10.0
ATTEMPT_SECONDS_MAX = 2.0
PAUSE_SECONDS = 0.1
# Who insists so long on a leader older than one that has been is believed: disks may have been restored.
OLDER_LEADER_SECONDS = 5.0
NO_ANSWER = (
    KafkaConnectionError, LeaderNotAvailableError, NodeNotReadyError, NotLeaderForPartitionError, RequestTimedOutError,
    TimeoutError,
)  # fmt: skip

_Answer = TypeVar("_Answer")


class LogInspector:
    """Looks at topics, named without prefix, and reads nothing of them."""

    def __init__(self, settings: Settings, topics: tuple[str, ...]) -> None:
        self._settings = settings
        self._logical = {settings.topic(name): name for name in topics}
        self._consumer: AIOKafkaConsumer | None = None
        self._ids: dict[str, UUID] = {}

    async def start(self) -> None:
        """Ready to be asked."""
        consumer = AIOKafkaConsumer(**client_options(self._settings), isolation_level="read_uncommitted")
        self._consumer = consumer
        await start_client(consumer, self._settings)

    async def stop(self) -> None:
        """Asks nothing more."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await stop_consumer(consumer)

    async def bounds(self, places: list[Place]) -> dict[Place, tuple[int, int]]:
        """The first offset that each partition still has, and the one that the next record will get."""
        wanted = [self.partition(place) for place in places]
        first = await self._asking.beginning_offsets(wanted)
        end = await self._asking.end_offsets(wanted)
        return {place: (first[one], end[one]) for place, one in zip(places, wanted, strict=True)}

    async def topic_ids(self) -> dict[str, UUID]:
        """The id of each topic. From here on it is an error if a topic is replaced by another of its name."""
        answered = await self._asked(lambda client: topic_ids(client, list(self._logical)))
        found = {self._logical[topic]: one for topic, one in answered.items()}
        for topic, known in self._ids.items():
            if found.get(topic, known) != known:
                made_anew = f"the topic {self._settings.topic(topic)} was deleted and made anew"
                raise UnknownTopicOrPartitionError(made_anew)
        self._ids = found
        return found

    @property
    def knows_topic_ids(self) -> bool:
        """Whether it was asked for them, and brokers have them."""
        return bool(self._ids)

    async def truncated(
        self, read: Mapping[Place, Position], leaders: Mapping[Place, int] | None = None
    ) -> dict[Place, int]:
        """Where not all stands any more that was read before these positions: up to which offset; below 0: unknown.

        `leaders`: who is known to have led since; nobody before them is believed.
        """
        known = {self.partition(place): at for place, at in read.items() if at.leader_epoch != UNKNOWN_EPOCH}
        if not known:
            return {}
        epochs = {partition: at.leader_epoch for partition, at in known.items()}
        seen = {self.partition(place): epoch for place, epoch in (leaders or {}).items()}
        believed_at = time.monotonic() + OLDER_LEADER_SECONDS
        ends = await self._asked(
            lambda client: ends_of_epochs(client, epochs, seen, older=time.monotonic() > believed_at)
        )
        return {self.place(one): end for one, end in ends.items() if end < known[one].next_offset}

    async def leader_epochs(self) -> dict[Place, int]:
        """The epoch of who leads each partition now."""
        found = await self._asked(lambda client: leader_epochs(client, list(self._logical)))
        return {self.place(one): epoch for one, epoch in found.items()}

    def partition(self, place: Place) -> TopicPartition:
        """With the deployment's prefix, as the client takes it."""
        return TopicPartition(self._settings.topic(place[0]), place[1])

    def place(self, partition: TopicPartition) -> Place:
        """Without it."""
        return self._logical[partition.topic], partition.partition

    async def _asked(self, ask: Callable[[AIOKafkaClient], Awaitable[_Answer]]) -> _Answer:
        """What a broker answers; one that restarts, or does not lead any more, does not, but soon another one does."""
        client, until = self._asking._client, time.monotonic() + ANSWER_SECONDS_MAX  # noqa: SLF001 - no public way
        while True:
            try:
                async with asyncio.timeout(ATTEMPT_SECONDS_MAX):
                    return await ask(client)
            except NO_ANSWER as problem:
                if time.monotonic() > until:
                    raise RequestTimedOutError("no broker says what these topics are") from problem
                client.force_metadata_update()
                await asyncio.sleep(PAUSE_SECONDS)

    @property
    def _asking(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise RuntimeError("start comes first")
        return self._consumer
