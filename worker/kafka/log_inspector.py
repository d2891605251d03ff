"""Asks brokers about topics: offsets, topic ids, leader epochs, where a log was truncated, what cannot be served.

It has a client of its own that reads uncommitted: a position may be past the beginning of an open transaction.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar
from uuid import UUID

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    LeaderNotAvailableError,
    NodeNotReadyError,
    NotLeaderForPartitionError,
    RequestTimedOutError,
    UnknownTopicOrPartitionError,
)

from worker.cancelled import GivenUpError, end, failure_of, not_by_us
from worker.kafka import names
from worker.kafka.connecting import client_options, start_client, stop_consumer
from worker.kafka.leader_epochs import ends_of_epochs, leader_epochs
from worker.kafka.records import NO_LEADER, UNKNOWN_EPOCH, Place, Position
from worker.kafka.topic_ids import topic_ids
from worker.kafka.topic_settings import topic_settings
from worker.settings import Settings

# How long a request is retried: while one broker restarts or hangs, another one answers, or the same one soon.
ANSWER_SECONDS_MAX = 10.0
ATTEMPT_SECONDS_MAX = 2.0
PAUSE_SECONDS = 0.1
# After this long, accept a leader epoch older than one already seen: disks may have been restored.
OLDER_LEADER_SECONDS = 5.0
# How often the client refreshes its metadata, which names partitions, their leaders and replicas in sync.
METADATA_AGE_SECONDS_MAX = 1.0
RETRIED = (
    KafkaConnectionError, LeaderNotAvailableError, NodeNotReadyError, NotLeaderForPartitionError, RequestTimedOutError,
    TimeoutError,
)  # fmt: skip

# How many replicas must be in sync for a leader to accept our writes, which all of those acknowledge.
IN_SYNC_MIN = "min.insync.replicas"

_Answer = TypeVar("_Answer")


class LogInspector:
    """Asks about topics, which are named without prefix, and consumes nothing."""

    def __init__(self, settings: Settings, topics: tuple[str, ...], read: tuple[str, ...] = ()) -> None:
        """`read`: those topics that are only read. The others are written, and so are the dead letters of these."""
        self._settings = settings
        self._logical = {settings.topic(name): name for name in topics}
        watched = (*topics, *(name + names.DEAD_LETTER_SUFFIX for name in read))
        self._watched = [(topic, partition) for topic in watched for partition in range(settings.topic_partitions)]
        self._written = [settings.topic(name) for name in watched if name not in read]
        self._in_sync_min: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None
        self.unavailable: dict[Place, float] = {}
        """The partitions that cannot be read or, where we write, written; since when, on the monotonic clock."""
        self._consumer: AIOKafkaConsumer | None = None
        self._ids: dict[str, UUID] = {}

    @property
    def failure(self) -> BaseException | None:
        """The error that ended the watch on what is needed in sync; None while it goes on."""
        return failure_of(self._task)

    async def start(self) -> None:
        """Connects."""
        consumer = AIOKafkaConsumer(
            **client_options(self._settings),
            isolation_level="read_uncommitted",
            metadata_max_age_ms=round(1000 * METADATA_AGE_SECONDS_MAX),
        )
        self._consumer = consumer
        await start_client(consumer, self._settings)
        await self._read_in_sync_min()
        client = consumer._client  # noqa: SLF001 - there is no public way to its metadata
        client.cluster.add_listener(self._note_unavailable)
        await client.set_topics({self._settings.topic(topic) for topic, _ in self._watched})
        self._task = asyncio.create_task(self._refresh_in_sync_min(), name="replicas in sync")

    async def stop(self) -> None:
        """Disconnects."""
        if self._task is not None:
            await end([self._task])
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await stop_consumer(consumer)

    async def bounds(self, places: list[Place]) -> dict[Place, tuple[int, int]]:
        """The first offset that each partition still has, and its end: the offset of the next record."""
        partitions = [self.to_partition(place) for place in places]
        firsts = await self._client.beginning_offsets(partitions)
        ends = await self._client.end_offsets(partitions)
        return {
            place: (firsts[partition], ends[partition]) for place, partition in zip(places, partitions, strict=True)
        }

    async def topic_ids(self) -> dict[str, UUID]:
        """The id of each topic; raises if it is not the one that an earlier call returned."""
        answered = await self._retrying(lambda client: topic_ids(client, list(self._logical)))
        ids = {self._logical[topic]: topic_id for topic, topic_id in answered.items()}
        for topic, known in self._ids.items():
            if ids.get(topic, known) != known:
                made_anew = f"the topic {self._settings.topic(topic)} was deleted and made anew"
                raise UnknownTopicOrPartitionError(made_anew)
        self._ids = ids
        return ids

    @property
    def knows_topic_ids(self) -> bool:
        """Whether `topic_ids` was called, and the brokers know ids."""
        return bool(self._ids)

    async def truncated(
        self, read: Mapping[Place, Position], new_leaders: Mapping[Place, int] | None = None
    ) -> dict[Place, int]:
        """Partitions truncated below what we read: the offset up to which the log still matches, or -1 if unknown.

        `new_leaders`: epochs of leaders seen since; answers of leaders before them are not accepted.
        """
        known = {self.to_partition(place): at for place, at in read.items() if at.leader_epoch != UNKNOWN_EPOCH}
        if not known:
            return {}
        epochs = {partition: at.leader_epoch for partition, at in known.items()}
        seen = {self.to_partition(place): epoch for place, epoch in (new_leaders or {}).items()}
        accept_older_at = time.monotonic() + OLDER_LEADER_SECONDS
        ends = await self._retrying(
            lambda client: ends_of_epochs(client, epochs, seen, accept_older=time.monotonic() > accept_older_at)
        )
        return {self.to_place(partition): end for partition, end in ends.items() if end < known[partition].next_offset}

    async def leader_epochs(self) -> dict[Place, int]:
        """The epoch of each partition's present leader."""
        epochs = await self._retrying(lambda client: leader_epochs(client, list(self._logical)))
        return {self.to_place(partition): epoch for partition, epoch in epochs.items()}

    def widened_topics(self) -> dict[str, int]:
        """Topics with more partitions than TOPIC_PARTITIONS, and how many they have: nobody reads those."""
        counts = {topic: len(self._client.partitions_for_topic(topic) or ()) for topic in self._logical}
        return {topic: count for topic, count in counts.items() if count > self._settings.topic_partitions}

    def to_partition(self, place: Place) -> TopicPartition:
        """With the deployment's prefix, as the client takes it."""
        return TopicPartition(self._settings.topic(place[0]), place[1])

    def to_place(self, partition: TopicPartition) -> Place:
        """Without the prefix."""
        return self._logical[partition.topic], partition.partition

    def _note_unavailable(self, cluster: ClusterMetadata) -> None:
        now = time.monotonic()
        self.unavailable = {place: self.unavailable.get(place, now) for place in self._watched
                            if not self._is_available(cluster, self.to_partition(place))}  # fmt: skip

    def _is_available(self, cluster: ClusterMetadata, partition: TopicPartition) -> bool:
        """Whether it has a leader and, if we write to it, enough replicas in sync. True if nothing is known of it.

        A partition never needs more of them than it has replicas at all.
        """
        leader = cluster.leader_for_partition(partition)
        if leader is None or leader == NO_LEADER:
            return leader is None
        known = cluster._partitions[partition.topic][partition.partition]  # noqa: SLF001 - there is no public way
        return len(known.isr) >= min(self._in_sync_min.get(partition.topic, 0), len(known.replicas))

    async def _refresh_in_sync_min(self) -> None:
        """People lower it in an outage so that partitions are served; and leaders refuse writes once it was raised."""
        while True:
            await asyncio.sleep(METADATA_AGE_SECONDS_MAX)
            with contextlib.suppress(GivenUpError, KafkaError), not_by_us():
                await self._read_in_sync_min()

    async def _read_in_sync_min(self) -> None:
        settings = await self._retrying(lambda client: topic_settings(client, self._written, [IN_SYNC_MIN]))
        self._in_sync_min = {topic: int(values.get(IN_SYNC_MIN, 0)) for topic, values in settings.items()}

    async def _retrying(self, ask: Callable[[AIOKafkaClient], Awaitable[_Answer]]) -> _Answer:
        """Asks, and retries while brokers restart or leadership moves."""
        client, until = self._client._client, time.monotonic() + ANSWER_SECONDS_MAX  # noqa: SLF001 - no public way
        while True:
            try:
                async with asyncio.timeout(ATTEMPT_SECONDS_MAX):
                    return await ask(client)
            except RETRIED as problem:
                if time.monotonic() > until:
                    raise RequestTimedOutError("no broker answered a request about the topics") from problem
                client.force_metadata_update()
                await asyncio.sleep(PAUSE_SECONDS)

    @property
    def _client(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise RuntimeError("the inspector was not started")
        return self._consumer
