"""Consumes assigned partitions from given offsets, and commits offsets to the consumer group for lag tools.

Records of an aborted transaction are skipped, those of an open one are waited for. Where a new leader's log lacks
records that were read, reading ends with an error.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import OffsetOutOfRangeError, RequestTimedOutError
from aiokafka.structs import ConsumerRecord, OffsetAndMetadata

from worker.cancelled import end, not_by_us
from worker.kafka import names
from worker.kafka.connecting import RETRY_BACKOFF_MS, client_options, start_client, stop_consumer
from worker.kafka.log_inspector import LogInspector
from worker.kafka.record_buffer import RecordBuffer
from worker.kafka.records import UNKNOWN_EPOCH, Place, Position, Record
from worker.settings import Settings

FETCH_WAIT_MS = 100
# How long one poll waits if no records come.
POLL_MS = 1_000
FETCH_BYTES_MAX = 16 << 20
PARTITION_FETCH_BYTES_MAX = 1 << 20
# How often the client refreshes its metadata: a former leader answers fetches too, but later than the present one.
METADATA_AGE_SECONDS_MAX = 30.0
# How often topic ids are compared with those seen before.
TOPIC_IDS_SECONDS = 1.0
# How long fetches may stay unanswered while a broker answers other requests.
FETCHES_SILENT_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 2.0
NOT_STARTED = "the source was not started"


class OffsetGoneError(Exception):
    """A stored position is outside the offsets that the topic has; records would be skipped or read twice."""

    def __init__(
        self, topic: str, partition: int, stored: int, first: int, end: int, *, made_anew: bool = False
    ) -> None:
        anew = "was deleted and made anew, and " if made_anew else ""
        super().__init__(
            f"{topic} partition {partition}: the stored position is offset {stored}, but the topic {anew}has "
            f"offsets {first} to {end}"
        )


class LogTruncatedError(Exception):
    """Kafka lost records that were read, and gave their offsets to other records, which would be skipped."""

    def __init__(self, topic: str, partition: int, position: int, matching_end: int) -> None:
        """`matching_end`: where the log stops to match what was read; below 0 if Kafka does not know."""
        lost = f"all of it from offset {matching_end} on" if matching_end >= 0 else "some of it"
        super().__init__(
            f"{topic} partition {partition}: the stored position is offset {position}, but Kafka has lost {lost}, and "
            "gives these offsets to other records"
        )


class Source:
    """A consumer outside Kafka's group protocol: which worker owns which partition is decided elsewhere."""

    def __init__(self, settings: Settings, role: str, topics: tuple[str, ...], arrived: Callable[[], None]) -> None:
        self._settings = settings
        self.group = settings.topic(names.group(role))
        self._topics = topics
        self._arrived = arrived
        self.inspector = LogInspector(settings, topics, read=names.READ.get(role, ()))
        self._logical = {settings.topic(name): name for name in topics}
        self._consumer: AIOKafkaConsumer | None = None
        self._coordinator: GroupCoordinator | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._buffer = RecordBuffer()
        self._assigned_at = 0.0
        self._positions: dict[Place, Position] = {}
        """Behind what was fetched, with the newest leader whose log is known to contain all before."""

    async def start(self) -> None:
        """Connects; nothing is fetched before `assign`."""
        consumer = AIOKafkaConsumer(
            **client_options(self._settings),
            auto_offset_reset="none",
            isolation_level="read_committed",
            fetch_max_wait_ms=FETCH_WAIT_MS,
            fetch_max_bytes=FETCH_BYTES_MAX,
            max_partition_fetch_bytes=PARTITION_FETCH_BYTES_MAX,
            metadata_max_age_ms=round(1000 * METADATA_AGE_SECONDS_MAX),
        )
        self._consumer = consumer
        await start_client(consumer, self._settings)
        # A consumer with a group fails if it is given other partitions while nobody coordinates the group.
        client = consumer._client  # noqa: SLF001 - there is no public way
        self._coordinator = GroupCoordinator(
            client, SubscriptionState(), group_id=self.group, enable_auto_commit=False,
            retry_backoff_ms=RETRY_BACKOFF_MS,
        )  # fmt: skip
        await self.inspector.start()

    async def stop(self) -> None:
        """Stops fetching and disconnects."""
        await self._stop_fetching()
        consumer, self._consumer = self._consumer, None
        coordinator, self._coordinator = self._coordinator, None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS_MAX):
                if coordinator is not None:
                    await coordinator.close()
                await asyncio.gather(self.inspector.stop(), *([stop_consumer(consumer)] if consumer else []))

    def set_verified_positions(self, positions: Mapping[Place, Position]) -> None:
        """Sets the leaders whose logs are known to contain all before these positions; later leaders are verified."""
        self._positions |= positions

    async def assign(self, offsets: Mapping[Place, int]) -> None:
        """Fetches exactly these partitions from now on, each from its offset; drops buffered records."""
        await self._stop_fetching()
        self._positions = {
            place: self._positions.get(place, Position(offset))._replace(next_offset=offset)
            for place, offset in offsets.items()
        }
        self._buffer.clear()
        self._assigned_at = time.time()
        self._client.assign([self.inspector.to_partition(place) for place in offsets])
        for place, offset in offsets.items():
            self._client.seek(self.inspector.to_partition(place), offset)
        if offsets:
            self._tasks = [asyncio.create_task(self._fetch(), name="source")]
            if self.inspector.knows_topic_ids:
                self._tasks.append(asyncio.create_task(self._watch(), name="topics"))
            for task in self._tasks:
                task.add_done_callback(self._task_ended)

    def has_records(self) -> bool:
        """Whether `take` would return records or raise."""
        return bool(self._buffer) or self._has_ended()

    def take(self, records_max: int, bytes_max: int) -> list[Record]:
        """Returns buffered records, in order within each partition, at least one if there is any.

        Raises the error that ended the fetching.
        """
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.result()
        return self._buffer.take(records_max, bytes_max)

    def read_positions(self) -> dict[Place, Position]:
        """The positions of the partitions of which no record is buffered.

        They may be past the last record: the end of a transaction takes an offset, and so does each aborted record.
        """
        if self._has_ended():
            return {}
        buffered = self._buffer.places()
        return {place: at for place, at in self._positions.items() if place not in buffered}

    def end_offsets(self) -> dict[Place, int]:
        """The end of each assigned partition, open transactions included, as of the broker's last answer."""
        if self._consumer is None:
            return {}
        ends = {partition: self._consumer.highwater(partition) for partition in self._consumer.assignment()}
        return {self.inspector.to_place(partition): end for partition, end in ends.items() if end is not None}

    def silent_seconds(self) -> float | None:
        """The time since the broker's last answer: 0 while records are buffered, None while nothing is fetched."""
        if self._consumer is None or not self._tasks:
            return None
        if self._buffer:
            return 0.0
        answers_ms = (self._consumer.last_poll_timestamp(partition) or 0 for partition in self._consumer.assignment())
        return max(0.0, time.time() - max(max(answers_ms, default=0) / 1000, self._assigned_at))

    async def commit(self, offsets: Mapping[Place, int]) -> None:
        """Commits offsets to the consumer group, which only lag tools read."""
        if self._coordinator is None:
            raise RuntimeError(NOT_STARTED)
        committed = {self.inspector.to_partition(place): OffsetAndMetadata(at, "") for place, at in offsets.items()}
        await self._coordinator.commit_offsets(None, committed)

    @property
    def _client(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise RuntimeError(NOT_STARTED)
        return self._consumer

    async def _fetch(self) -> None:
        """Keeps a fetch pending at the broker at all times: aiokafka sends the next one once its buffer is empty."""
        while True:
            await self._buffer.wait_for_room()
            try:
                with not_by_us():
                    pages = await self._client.getmany(timeout_ms=POLL_MS, max_records=self._buffer.page_records)
            except OffsetOutOfRangeError as problem:
                await self._raise_if_gone(problem)
                raise
            new_leaders = self._buffer_pages(pages)
            with contextlib.suppress(RequestTimedOutError):  # retried with the next page; other partitions go on
                await self._verify(new_leaders)
                await self._skip_offsets_without_records()

    def _buffer_pages(self, pages: "Mapping[TopicPartition, list[ConsumerRecord[bytes, bytes]]]") -> dict[Place, int]:
        """Buffers pages, except those of new leaders, which are verified first; returns the epochs of new leaders."""
        buffered: list[Record] = []
        new_leaders: dict[Place, int] = {}
        for partition, records in pages.items():
            page = [to_record(self._logical[partition.topic], record) for record in records]
            last = page[-1]
            before = self._positions[last.place]
            if UNKNOWN_EPOCH < before.leader_epoch < last.leader_epoch:
                new_leaders[last.place] = last.leader_epoch
                continue
            buffered += page
            self._positions[last.place] = Position(last.offset + 1, max(before.leader_epoch, last.leader_epoch))
        if buffered:
            self._buffer.add(buffered)
            self._arrived()
        return new_leaders

    async def _skip_offsets_without_records(self) -> None:
        """Advances positions past ends of transactions and aborted records; verifies new leaders that wrote them."""
        offsets = {self.inspector.to_place(partition): await self._client.position(partition)
                   for partition in self._client.assignment()}  # fmt: skip
        skipped = {place: at._replace(next_offset=offsets[place]) for place, at in self._positions.items()
                   if offsets[place] > at.next_offset}  # fmt: skip
        if of_new_leaders := await self.inspector.truncated(skipped):
            epochs = await self.inspector.leader_epochs()
            await self._verify({place: epochs[place] for place in of_new_leaders})
        self._positions |= {place: at for place, at in skipped.items() if place not in of_new_leaders}

    async def _verify(self, new_leaders: Mapping[Place, int]) -> None:
        """Seeks back behind what was read; raises unless the logs of the new leaders contain all before."""
        read = {place: self._positions[place] for place in new_leaders}
        for place, at in read.items():
            self._client.seek(self.inspector.to_partition(place), at.next_offset)
        for place, matching_end in (await self.inspector.truncated(read, new_leaders)).items():
            raise LogTruncatedError(self._settings.topic(place[0]), place[1], read[place].next_offset, matching_end)
        for place, epoch in new_leaders.items():
            at = self._positions[place]
            self._positions[place] = at._replace(leader_epoch=max(at.leader_epoch, epoch))

    async def _watch(self) -> None:
        """Raises once a topic was deleted and made anew: fetches go by name, and would go on in the new one.

        Raises too if fetches stay unanswered: aiokafka's fetching task may have died, which it does not report.
        """
        silent_before = False
        while True:
            await asyncio.sleep(TOPIC_IDS_SECONDS)
            with not_by_us():
                await self.inspector.topic_ids()
            silent = (self.silent_seconds() or 0.0) > FETCHES_SILENT_SECONDS_MAX
            if silent and silent_before:  # once may be the moment between a long cycle and the next fetch
                raise RequestTimedOutError("fetches get no answer, though a broker answers")
            silent_before = silent

    def _has_ended(self) -> bool:
        return any(task.done() for task in self._tasks)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self._arrived()

    async def _raise_if_gone(self, problem: OffsetOutOfRangeError) -> None:
        """Returns if the topic has the offset: then a broker that does not lead the partition had answered."""
        await self.inspector.topic_ids()  # raises if the topic was made anew
        offsets = {self.inspector.to_place(partition): offset for partition, offset in problem.args[0].items()}
        for place, (first, end_offset) in (await self.inspector.bounds(list(offsets))).items():
            if not first <= offsets[place] <= end_offset:
                topic, partition = self._settings.topic(place[0]), place[1]
                raise OffsetGoneError(topic, partition, offsets[place], first, end_offset) from problem

    async def _stop_fetching(self) -> None:
        tasks, self._tasks = self._tasks, []
        await end(tasks)


def to_record(topic: str, record: "ConsumerRecord[bytes, bytes]") -> Record:
    """Converts aiokafka's record; `topic` is its name without prefix."""
    epoch = getattr(record, "leader_epoch", UNKNOWN_EPOCH)
    return Record(
        topic, record.partition, record.offset, record.key, record.value, list(record.headers), record.timestamp, epoch
    )
