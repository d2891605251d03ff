"""Reads the partitions it is told to, from the offsets it is told, and commits offsets to Kafka for its lag tools.

Records of an aborted transaction are never read, those of an open one are waited for. Where a leader has lost what was
read, and gives the offsets to other records, reading ends.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError, RequestTimedOutError
from aiokafka.structs import ConsumerRecord

from worker.cancelled import end, not_by_us
from worker.kafka import names
from worker.kafka.connecting import client_options, no_brokers_as_not_ready, start_client, stop_consumer
from worker.kafka.log_inspector import LogInspector
from worker.kafka.records import UNKNOWN_EPOCH, Place, Position, Record
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
# How often the client asks how many partitions topics have: of more than are read, some are read by nobody.
WIDTHS_SECONDS = 30.0
# How long fetches may stay without an answer while a broker answers what else is asked.
FETCHES_SILENT_SECONDS_MAX = 30.0
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


class LogTruncatedError(Exception):
    """What was read is lost, and what stands in its place would be passed over; nothing is skipped."""

    def __init__(self, topic: str, partition: int, read_to: int, stands_to: int) -> None:
        """`stands_to`: below 0 where Kafka does not know either."""
        lost = f"all of it from offset {stands_to} on" if stands_to >= 0 else "some of it"
        super().__init__(
            f"{topic} partition {partition}: the stored position is offset {read_to}, but Kafka has lost {lost}, and "
            "gives these offsets to other records"
        )


class Source:
    """A consumer without Kafka's group protocol: which worker owns which partition is decided elsewhere."""

    def __init__(self, settings: Settings, role: str, topics: tuple[str, ...], arrived: Callable[[], None]) -> None:
        self._settings = settings
        self.group = settings.topic(names.group(role))
        self._topics = topics
        self._arrived = arrived
        self.inspector = LogInspector(settings, topics)
        self._logical = {settings.topic(name): name for name in topics}
        self._consumer: AIOKafkaConsumer | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._waiting: deque[Record] = deque()
        self._waiting_bytes = 0
        self._page_records = PAGE_RECORDS_FIRST
        self._assigned_at = 0.0
        self._leaderless: dict[TopicPartition, float] = {}
        self._read: dict[Place, Position] = {}
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
        await start_client(consumer, self._settings)
        # Who leads which partition; aiokafka would ask for one topic after another, with a pause between.
        await consumer._client.set_topics(list(self._logical))  # noqa: SLF001 - there is no public way
        await self._find_coordinator(consumer)
        await self.inspector.start()

    async def stop(self) -> None:
        """Reads nothing more."""
        await self._stop_reading()
        consumer, self._consumer = self._consumer, None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS_MAX):
                await asyncio.gather(self.inspector.stop(), *([stop_consumer(consumer)] if consumer else []))

    def set_verified_positions(self, read: Mapping[Place, Position]) -> None:
        """Everything before these positions stands; what other leaders take from here on is compared with that."""
        self._read |= read

    async def assign(self, positions: Mapping[Place, int]) -> None:
        """From here on reads exactly these partitions, each from its offset; records that waited are dropped."""
        await self._stop_reading()
        self._read = {
            place: self._read.get(place, Position(offset))._replace(next_offset=offset)
            for place, offset in positions.items()
        }
        self._waiting.clear()
        self._waiting_bytes = 0
        self._assigned_at = time.time()
        self._client.assign([self.inspector.partition(place) for place in positions])
        for place, offset in positions.items():
            self._client.seek(self.inspector.partition(place), offset)
        if positions:
            self._tasks = [asyncio.create_task(self._fill(), name="source")]
            if self.inspector.knows_topic_ids:
                self._tasks.append(asyncio.create_task(self._watch(), name="topics"))
            for task in self._tasks:
                task.add_done_callback(self._ended)

    def has_records(self) -> bool:
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

    def read_positions(self) -> dict[Place, Position]:
        """Where reading goes on in each partition of which everything that arrived was taken.

        It may skip offsets after the last record: the end of a transaction has one, and so has each record it undid.
        """
        if self._has_ended():
            return {}
        waiting = {record.place for record in self._waiting}
        return {place: at for place, at in self._read.items() if place not in waiting}

    def end_offsets(self) -> dict[Place, int]:
        """Where the partitions that are read end, as far as the broker has said; open transactions included."""
        if self._consumer is None:
            return {}
        ends = {one: self._consumer.highwater(one) for one in self._consumer.assignment()}
        return {self.inspector.place(one): end for one, end in ends.items() if end is not None}

    def silent_seconds(self) -> float | None:
        """How long the broker has owed an answer: 0 while records wait here, None while nothing is asked of it."""
        if self._consumer is None or not self._tasks:
            return None
        if self._waiting:
            return 0.0
        places = self._consumer.assignment()
        last_ms = max((self._consumer.last_poll_timestamp(one) or 0 for one in places), default=0)
        return max(0.0, time.time() - max(last_ms / 1000, self._assigned_at))

    def leaderless_partitions(self, seconds_min: float) -> list[str]:
        """Partitions that are read and that no broker has led for so long; known to whoever asks again and again."""
        if self._consumer is None:
            return []
        leader, now = self._consumer._client.cluster.leader_for_partition, time.monotonic()  # noqa: SLF001 - no public way
        found = (one for one in self._consumer.assignment() if leader(one) in (None, -1))
        self._leaderless = {one: self._leaderless.get(one, now) for one in found}
        lasting = sorted(one for one, since in self._leaderless.items() if now - since > seconds_min)
        return [f"{one.topic} partition {one.partition}" for one in lasting]

    def widened_topics(self) -> dict[str, int]:
        """Topics with more partitions than are read, and how many they have, as far as the broker has said."""
        known = {one: len(self._client.partitions_for_topic(one) or ()) for one in self._logical}
        return {topic: count for topic, count in known.items() if count > self._settings.topic_partitions}

    async def commit(self, offsets: Mapping[Place, int]) -> None:
        """Tells Kafka's lag tools how far we are."""
        with no_brokers_as_not_ready():
            await self._client.commit({self.inspector.partition(place): offset for place, offset in offsets.items()})

    @property
    def _client(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise RuntimeError(NOT_STARTED)
        return self._consumer

    async def _find_coordinator(self, consumer: AIOKafkaConsumer) -> None:
        """Before anything is assigned: what is assigned while aiokafka looks for it is never read (its #796).

        Without an answer it is looked for later, since only the lag tools depend on it.
        """
        with contextlib.suppress(KafkaError, TimeoutError), no_brokers_as_not_ready():
            async with asyncio.timeout(COORDINATOR_SECONDS_MAX):
                await consumer.committed(self.inspector.partition((self._topics[0], 0)))

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
            doubtful = self._lay_in(found)
            with contextlib.suppress(RequestTimedOutError):  # it is asked again, and the other partitions are read on
                await self._read_again(doubtful)
                await self._skip()

    def _lay_in(self, found: "Mapping[TopicPartition, list[ConsumerRecord[bytes, bytes]]]") -> dict[Place, int]:
        """What was fetched waits, except where another leader has come; returns its epoch."""
        number, size = len(self._waiting), self._waiting_bytes
        doubtful: dict[Place, int] = {}
        for partition, records in found.items():
            page = [to_record(self._logical[partition.topic], record) for record in records]
            last = page[-1]
            before = self._read[last.place]
            if UNKNOWN_EPOCH < before.leader_epoch < last.leader_epoch:
                doubtful[last.place] = last.leader_epoch
                continue
            self._waiting.extend(page)
            self._waiting_bytes += sum(len(record.value or b"") for record in page)
            self._read[last.place] = Position(last.offset + 1, max(before.leader_epoch, last.leader_epoch))
        if more := len(self._waiting) - number:
            fit = PAGE_BYTES_MAX * more // max(1, self._waiting_bytes - size)
            self._page_records = max(1, min(fit, 2 * self._page_records, WAITING_RECORDS_MAX))
            self._arrived()
        return doubtful

    async def _skip(self) -> None:
        """Goes past what was fetched and is no record, unless another leader has come."""
        offsets = {one: await self._client.position(one) for one in self._client.assignment()}
        reached = {self.inspector.place(one): offset for one, offset in offsets.items()}
        over = {place: at._replace(next_offset=reached[place]) for place, at in self._read.items()
                if reached[place] > at.next_offset}  # fmt: skip
        if doubtful := await self.inspector.truncated(over):
            leaders = await self.inspector.leader_epochs()
            await self._read_again({place: leaders[place] for place in doubtful})
        self._read |= {place: at for place, at in over.items() if place not in doubtful}

    async def _read_again(self, leaders: Mapping[Place, int]) -> None:
        """Goes back behind the last records: others lead since then, so what was read must stand before theirs."""
        read = {place: self._read[place] for place in leaders}
        for place, at in read.items():
            self._client.seek(self.inspector.partition(place), at.next_offset)
        for place, stands_to in (await self.inspector.truncated(read, leaders)).items():
            raise LogTruncatedError(self._settings.topic(place[0]), place[1], read[place].next_offset, stands_to)
        for place, epoch in leaders.items():
            at = self._read[place]
            self._read[place] = at._replace(leader_epoch=max(at.leader_epoch, epoch))

    async def _watch(self) -> None:
        """Raises once a topic was replaced by another of its name, in which fetches go on; the next taker judges it.

        And once fetches get no answer: aiokafka's task that fetches may have died, and nothing says so.
        """
        silent_before = False
        while True:
            await asyncio.sleep(IDS_SECONDS)
            with not_by_us():
                await self.inspector.topic_ids()
            silent = (self.silent_seconds() or 0.0) > FETCHES_SILENT_SECONDS_MAX
            if silent and silent_before:  # once may be the moment between a long cycle and the next fetch
                raise RequestTimedOutError("fetches get no answer, though a broker answers")
            silent_before = silent

    def _has_ended(self) -> bool:
        return any(task.done() for task in self._tasks)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self._arrived()

    async def _raise_gone(self, problem: OffsetOutOfRangeError) -> None:
        """Returns if the topic has the position after all: then a broker that does not lead it had answered."""
        await self.inspector.topic_ids()  # of a topic that was made anew that is the error
        stored = {self.inspector.place(one): at for one, at in problem.args[0].items()}
        for place, bounds in (await self.inspector.bounds(list(stored))).items():
            if not bounds[0] <= stored[place] <= bounds[1]:
                raise OffsetGoneError(self._settings.topic(place[0]), place[1], stored[place], *bounds) from problem

    async def _stop_reading(self) -> None:
        tasks, self._tasks = self._tasks, []
        await end(tasks)


def to_record(topic: str, record: "ConsumerRecord[bytes, bytes]") -> Record:
    """The client's record as one of ours; `topic` is its name without prefix."""
    epoch = getattr(record, "leader_epoch", UNKNOWN_EPOCH)
    return Record(
        topic, record.partition, record.offset, record.key, record.value, list(record.headers), record.timestamp, epoch
    )
