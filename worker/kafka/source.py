"""Reads the partitions it is told to, from the offsets it is told, and commits offsets to Kafka for its lag tools.

Records of an aborted transaction are never read, those of an open one are waited for. Where partitions begin and end
is asked by a second client that reads uncommitted: a position may be past the beginning of an open transaction.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping
from uuid import UUID

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
    OffsetOutOfRangeError,
    RequestTimedOutError,
    UnknownTopicOrPartitionError,
)
from aiokafka.structs import ConsumerRecord

from worker.cancelled import end, not_by_us
from worker.kafka import names
from worker.kafka.connecting import brokers_known, client_options, start, stop
from worker.kafka.records import Place, Record
from worker.kafka.topic_ids import topic_ids
from worker.settings import Settings

FETCH_WAIT_MS = 100
# How long one request for records waits where none come.
POLL_MS = 1_000
FETCH_BYTES_MAX = 16 << 20
PARTITION_FETCH_BYTES_MAX = 1 << 20
# What waits here for the next cycle; the client's own buffer comes on top.
WAITING_RECORDS_MAX = 4_000
WAITING_BYTES_MAX = 16 << 20
# What is asked of the client at once, learned from what came: a batch may inflate to many times what was fetched.
PAGE_RECORDS_FIRST = 100
PAGE_BYTES_MAX = 4 << 20
# How often the topics that are read are asked whether they are still the same.
IDS_SECONDS = 1.0
# A broker that restarts or hangs does not answer: another one does, or it does soon.
IDS_ANSWER_SECONDS_MAX = 10.0
IDS_ATTEMPT_SECONDS_MAX = 2.0
IDS_PAUSE_SECONDS = 0.1
# How often the client asks how many partitions topics have: of more than are read, some are read by nobody.
WIDTHS_SECONDS = 30.0
# How long fetches may stay without an answer while a broker answers what else is asked.
FETCHES_SILENT_SECONDS_MAX = 30.0
NO_ANSWER = (KafkaConnectionError, NodeNotReadyError, RequestTimedOutError, TimeoutError)
STOP_SECONDS_MAX = 2.0
COORDINATOR_SECONDS_MAX = 2.0
NOT_STARTED = "the source was not started"


class OffsetGoneError(Exception):
    """A stored position that the topic no longer has; nothing is skipped."""

    def __init__(
        self, topic: str, partition: int, stored: int, first: int, end: int, *, made_anew: bool = False
    ) -> None:
        anew = "was deleted and made anew, and " if made_anew else ""
        super().__init__(
            f"{topic} partition {partition}: the stored position is offset {stored}, but the topic {anew}has "
            f"offsets {first} to {end}"
        )


class Source:
    """A consumer without Kafka's group protocol: which worker owns which partition is decided elsewhere."""

    def __init__(self, settings: Settings, role: str, topics: tuple[str, ...], arrived: Callable[[], None]) -> None:
        self._settings = settings
        self.group = settings.topic(names.group(role))
        self._topics = topics
        self._arrived = arrived
        self._logical = {settings.topic(name): name for name in topics}
        self._consumer: AIOKafkaConsumer | None = None
        self._looker: AIOKafkaConsumer | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._waiting: deque[Record] = deque()
        self._waiting_bytes = 0
        self._page_records = PAGE_RECORDS_FIRST
        self._assigned_at = 0.0
        self._leaderless: dict[TopicPartition, float] = {}
        self._ids: dict[str, UUID] = {}
        self._room = asyncio.Event()

    async def start(self) -> None:
        """Ready to be assigned partitions."""
        consumer = AIOKafkaConsumer(
            **client_options(self._settings),
            group_id=self.group,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            fetch_max_wait_ms=FETCH_WAIT_MS,
            fetch_max_bytes=FETCH_BYTES_MAX,
            max_partition_fetch_bytes=PARTITION_FETCH_BYTES_MAX,
            metadata_max_age_ms=round(1000 * WIDTHS_SECONDS),
        )
        self._consumer = consumer
        await start(consumer, self._settings)
        # Who leads which partition; aiokafka would ask for one topic after another, with a pause between.
        await consumer._client.set_topics(list(self._logical))  # noqa: SLF001 - there is no public way
        await self._find_coordinator(consumer)
        looker = AIOKafkaConsumer(**client_options(self._settings), isolation_level="read_uncommitted")
        self._looker = looker
        await start(looker, self._settings)

    async def stop(self) -> None:
        """Reads nothing more."""
        await self._stop_reading()
        clients = [one for one in (self._consumer, self._looker) if one is not None]
        self._consumer = self._looker = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS_MAX):
                await asyncio.gather(*(stop(one) for one in clients))

    async def bounds(self, places: list[Place]) -> dict[Place, tuple[int, int]]:
        """The first offset that each partition still has, and the one that the next record will get."""
        if self._looker is None:
            raise RuntimeError(NOT_STARTED)
        wanted = [self._partition(place) for place in places]
        first = await self._looker.beginning_offsets(wanted)
        end = await self._looker.end_offsets(wanted)
        return {place: (first[one], end[one]) for place, one in zip(places, wanted, strict=True)}

    async def ids(self) -> dict[str, UUID]:
        """The id of each topic. From here on it is an error if a topic is replaced by another of its name."""
        found = await self._ask_ids()
        for topic, known in self._ids.items():
            if found.get(topic, known) != known:
                made_anew = f"the topic {self._settings.topic(topic)} was deleted and made anew"
                raise UnknownTopicOrPartitionError(made_anew)
        self._ids = found
        return found

    async def assign(self, positions: Mapping[Place, int]) -> None:
        """From here on reads exactly these partitions, each from its offset; records that waited are dropped."""
        await self._stop_reading()
        self._waiting.clear()
        self._waiting_bytes = 0
        self._assigned_at = time.time()
        self._client.assign([self._partition(place) for place in positions])
        for place, offset in positions.items():
            self._client.seek(self._partition(place), offset)
        if positions:
            self._tasks = [asyncio.create_task(self._fill(), name="source")]
            if self._ids:
                self._tasks.append(asyncio.create_task(self._watch(), name="topics"))
            for task in self._tasks:
                task.add_done_callback(self._ended)

    def waiting(self) -> bool:
        """Whether `take` has records to give, or an error to raise."""
        return bool(self._waiting) or self._has_ended()

    def take(self, records_max: int, bytes_max: int) -> list[Record]:
        """What has arrived, in order per partition, at least one record if any has. Raises what ended the reading."""
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.result()
        taken: list[Record] = []
        size = 0
        while self._waiting and len(taken) < records_max:
            size += len(self._waiting[0].value or b"")
            if taken and size > bytes_max:
                break
            taken.append(self._waiting.popleft())
        self._waiting_bytes -= sum(len(record.value or b"") for record in taken)
        self._room.set()
        return taken

    async def passed(self) -> dict[Place, int]:
        """The next offset of each partition of which everything that arrived was taken.

        It may skip offsets after the last record: the end of a transaction has one, and so has each record it undid.
        """
        assigned = () if not self._tasks or self._has_ended() else self._client.assignment()
        reached = {(self._logical[one.topic], one.partition): await self._client.position(one) for one in assigned}
        for record in self._waiting:
            reached.pop(record.place, None)
        return reached

    def ends(self) -> dict[Place, int]:
        """Where the partitions that are read end, as far as the broker has said; open transactions included."""
        if self._consumer is None:
            return {}
        ends = {one: self._consumer.highwater(one) for one in self._consumer.assignment()}
        return {(self._logical[one.topic], one.partition): end for one, end in ends.items() if end is not None}

    def silent_seconds(self) -> float | None:
        """How long the broker has owed an answer: 0 while records wait here, None while nothing is asked of it."""
        if self._consumer is None or not self._tasks:
            return None
        if self._waiting:
            return 0.0
        places = self._consumer.assignment()
        last_ms = max((self._consumer.last_poll_timestamp(one) or 0 for one in places), default=0)
        return max(0.0, time.time() - max(last_ms / 1000, self._assigned_at))

    def leaderless(self, seconds_min: float) -> list[str]:
        """Partitions that are read and that no broker has led for so long; known to whoever asks again and again."""
        if self._consumer is None:
            return []
        leader, now = self._consumer._client.cluster.leader_for_partition, time.monotonic()  # noqa: SLF001 - no public way
        found = (one for one in self._consumer.assignment() if leader(one) in (None, -1))
        self._leaderless = {one: self._leaderless.get(one, now) for one in found}
        lasting = sorted(one for one, since in self._leaderless.items() if now - since > seconds_min)
        return [f"{one.topic} partition {one.partition}" for one in lasting]

    def widened(self) -> dict[str, int]:
        """Topics with more partitions than are read, and how many they have, as far as the broker has said."""
        known = {one: len(self._client.partitions_for_topic(one) or ()) for one in self._logical}
        return {topic: count for topic, count in known.items() if count > self._settings.topic_partitions}

    async def commit(self, offsets: Mapping[Place, int]) -> None:
        """Tells Kafka's lag tools how far we are."""
        with brokers_known():
            await self._client.commit({self._partition(place): offset for place, offset in offsets.items()})

    @property
    def _client(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise RuntimeError(NOT_STARTED)
        return self._consumer

    def _partition(self, place: Place) -> TopicPartition:
        return TopicPartition(self._settings.topic(place[0]), place[1])

    async def _find_coordinator(self, consumer: AIOKafkaConsumer) -> None:
        """Before anything is assigned: what is assigned while aiokafka looks for it is never read (its #796).

        Without an answer it is looked for later, since only the lag tools depend on it.
        """
        with contextlib.suppress(KafkaError, TimeoutError), brokers_known():
            async with asyncio.timeout(COORDINATOR_SECONDS_MAX):
                await consumer.committed(self._partition((self._topics[0], 0)))

    async def _fill(self) -> None:
        """Keeps a request at the broker at all times: aiokafka asks for more only once its own buffer was emptied."""
        while True:
            while len(self._waiting) >= WAITING_RECORDS_MAX or self._waiting_bytes >= WAITING_BYTES_MAX:
                self._room.clear()
                await self._room.wait()
            try:
                with not_by_us():
                    found = await self._client.getmany(timeout_ms=POLL_MS, max_records=self._page_records)
            except OffsetOutOfRangeError as problem:
                await self._raise_gone(problem)
                raise
            if not found:
                continue
            # Until it waits here, nothing may be awaited: `passed` takes what was fetched and does not wait for taken.
            number, size = len(self._waiting), self._waiting_bytes
            for partition, records in found.items():
                topic = self._logical[partition.topic]
                for record in records:
                    self._waiting.append(as_record(topic, record))
                    self._waiting_bytes += len(record.value or b"")
            fit = PAGE_BYTES_MAX * (len(self._waiting) - number) // max(1, self._waiting_bytes - size)
            self._page_records = max(1, min(fit, 2 * self._page_records, WAITING_RECORDS_MAX))
            self._arrived()

    async def _watch(self) -> None:
        """Raises once a topic was replaced by another of its name, in which fetches go on; the next taker judges it.

        And once fetches get no answer: aiokafka's task that fetches may have died, and nothing says so.
        """
        silent_before = False
        while True:
            await asyncio.sleep(IDS_SECONDS)
            with not_by_us():
                await self.ids()
            silent = (self.silent_seconds() or 0.0) > FETCHES_SILENT_SECONDS_MAX
            if silent and silent_before:  # once may be the moment between a long cycle and the next fetch
                raise RequestTimedOutError("fetches get no answer, though a broker answers")
            silent_before = silent

    async def _ask_ids(self) -> dict[str, UUID]:
        if self._looker is None:
            raise RuntimeError(NOT_STARTED)
        client, until = self._looker._client, time.monotonic() + IDS_ANSWER_SECONDS_MAX  # noqa: SLF001 - no public way
        while True:
            try:
                async with asyncio.timeout(IDS_ATTEMPT_SECONDS_MAX):
                    found = await topic_ids(client, list(self._logical))
            except NO_ANSWER as problem:
                if time.monotonic() > until:
                    raise RequestTimedOutError("no broker says which topics these are") from problem
                await asyncio.sleep(IDS_PAUSE_SECONDS)
            else:
                return {self._logical[topic]: one for topic, one in found.items()}

    def _has_ended(self) -> bool:
        return any(task.done() for task in self._tasks)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self._arrived()

    async def _raise_gone(self, problem: OffsetOutOfRangeError) -> None:
        """Returns if the topic has the position after all: then a broker that does not lead it had answered."""
        await self.ids()  # of a topic that was made anew that is the error
        stored = {(self._logical[one.topic], one.partition): at for one, at in problem.args[0].items()}
        for place, bounds in (await self.bounds(list(stored))).items():
            if not bounds[0] <= stored[place] <= bounds[1]:
                raise OffsetGoneError(self._settings.topic(place[0]), place[1], stored[place], *bounds) from problem

    async def _stop_reading(self) -> None:
        tasks, self._tasks = self._tasks, []
        await end(tasks)


def as_record(topic: str, record: "ConsumerRecord[bytes, bytes]") -> Record:
    """The client's record as one of ours; `topic` is its name without prefix."""
    return Record(
        topic, record.partition, record.offset, record.key, record.value, list(record.headers), record.timestamp
    )
