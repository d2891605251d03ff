"""The live view: a Faust app whose agent folds the output topics into tables that Kafka keeps.

Two tables: `orders` (one row per order that is live, or came to its end in the last days) and `rates` (how much of what
happened in each minute). Sums are counted from the rows in memory and counted anew after a recovery, so a kill between
two writes cannot make them drift. After a kill the rows come to equal the ledger again, and the rates what happened: a
message's offset is committed only when Kafka has the rows that it changed, and a row is written after its counts.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from tempfile import TemporaryDirectory
from typing import Any

import faust
import msgspec
from aiokafka.errors import KafkaError

from worker import telemetry
from worker.kafka import names
from worker.kafka.refusals import describe_kafka_error
from worker.ops import changelogs
from worker.ops.count import Count, News, counted
from worker.ops.row import Command, Event, Message, Outcome, Row, decode, fold, is_over, milliseconds
from worker.ops.table import HomeTable, Model, in_turns
from worker.ops.totals import Totals
from worker.ops.watch import Progress, Watch
from worker.settings import Settings

ROLE = "ops"
TOPICS = {names.ORDERS: "state", names.EVENTS: "event", names.COMMANDS: "command", names.OUTCOMES: "outcome"}
BATCH_RECORDS_MAX = 2_000
BATCH_SECONDS_MAX = 0.4
# How many records may be folded whose changes Kafka has not taken yet; then the view waits for it.
UNKEPT_RECORDS_MAX = 10_000
MINUTE = 60
RATES_KEPT_SECONDS = 26 * 3600
SWEEP_SECONDS = 300.0
# An order's state comes with its first event; where it never does, the order came to its end long ago.
STATELESS_SECONDS_MAX = 600.0
STOP_SECONDS_MAX = 10.0
# Where Kafka keeps the tables, and how.
CHANGELOGS = {
    f"{names.group(ROLE)}-orders-changelog": {"cleanup.policy": "compact"},
    f"{names.group(ROLE)}-rates-changelog": {
        "cleanup.policy": "compact,delete", "retention.ms": str(RATES_KEPT_SECONDS * 1000),
    },
}  # fmt: skip


class RowModel(Model, of=Row):
    """Of `orders`."""


class CountModel(Model, of=Count):
    """Of `rates`."""


class View:
    """Follows the topics between `start` and `stop`; everything else only reads what it knows."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._kinds = {settings.topic(name): kind for name, kind in TOPICS.items()}
        self.totals = Totals()
        self.changed = asyncio.Condition()
        """Notified after every batch that changed something."""
        self.stamp = 0
        self._swept = time.monotonic()
        self._stateless: dict[bytes, float] = {}
        self._scratch = TemporaryDirectory(prefix="settlement-ops-")  # Faust wants a folder, and leaves it empty
        self.app = faust.App(
            settings.topic(names.group(ROLE)),
            datadir=self._scratch.name,
            Table=HomeTable,
            **changelogs.faust_options(settings),
        )
        partitions = settings.topic_partitions
        self.rows: Any = self.app.Table(
            "orders", partitions=partitions, key_type=bytes, value_type=RowModel, on_recover=self._recovered
        )
        rates = self.app.Table("rates", partitions=partitions, default=Count, value_type=CountModel)
        self.rates: Any = rates.tumbling(MINUTE, expires=RATES_KEPT_SECONDS)
        topic = self.app.topic(*self._kinds, key_serializer="raw", value_serializer="raw")
        self.app.agent(topic, name="fold")(self._follow)
        # It calls a partition in which nothing happens for minutes an error, and tells of each commit that takes Kafka
        # some seconds, as a timer that overlaps; our own lag says more.
        logging.getLogger("faust.transport.drivers.aiokafka").setLevel(logging.CRITICAL)
        logging.getLogger("mode.timers").setLevel(logging.ERROR)
        self.app.on_partitions_revoked.connect(self._interrupted)
        self._whole = False
        self.ended = False
        """Nothing of Faust's goes on; else its thread would keep the process for ever."""
        self._unkept: list[Any] = []
        self._kept = 0
        self._watch = Watch(settings, ROLE, list(TOPICS), list(CHANGELOGS), self._progress)

    async def start(self) -> None:
        """Tables are recovered in the background; `missing` says when."""
        await changelogs.prepare(self._settings, names.group(ROLE), list(TOPICS), CHANGELOGS)
        consumer: Any = self.app.consumer
        consumer.seek_to_committed = _sought(consumer)
        await self.app.start()
        await self._watch.start()

    async def stop(self) -> None:
        """Commits what Kafka has; the rest is read again."""
        await self._watch.stop()
        # Where its clients' thread has failed, Faust waits for ever for that thread, or ends with what it met there.
        # And what Kafka does not take it waits for without heeding that it was cancelled.
        stopping = asyncio.create_task(self.app.stop(), name="stop of Faust")
        await asyncio.wait([stopping], timeout=STOP_SECONDS_MAX)
        if not stopping.done() or stopping.cancelled() or stopping.exception():
            telemetry.log.warning("Faust did not stop as it should: what Kafka has not acknowledged is read again")
            stopping.cancel()
        else:
            self.ended = True
        self._scratch.cleanup()

    def missing(self) -> str | None:
        """What the view lacks to be whole; None: nothing."""
        if self.app.crashed:
            return "the view has crashed; the log says why"
        if not self._whole:
            return "the view is reading its tables from Kafka"
        if (lacking := self._settings.topic_partitions - len(self._held())) > 0:
            return f"{lacking} partitions are with another ops view of this group; each shows its own part only"
        return self.refused() or self._watch.lacking

    def refused(self) -> str | None:
        """Why Kafka does not take what the view keeps there, where it answers at all."""
        why = self.rows.refusal or self.rates.table.refusal
        return f"what the view knows is not kept: Kafka {why}" if why else None

    def lost(self) -> str | None:
        """Why the view has to start over; None: it goes on."""
        if (problem := self._failure()) is not None:
            return (
                describe_kafka_error(problem)
                if isinstance(problem, KafkaError)
                else f"the view has crashed: {problem!r}"
            )
        return self._watch.lost

    def _failure(self) -> BaseException | None:
        """What ended Faust, or why Kafka does not take it into its group: before it is in, Faust itself never asks."""
        if self.app.crashed:
            return self.app.crash_reason
        consumer: Any = self.app.consumer
        client = None if self._whole else consumer._thread._consumer  # noqa: SLF001 - there is no public way to it
        joining = client and client._coordinator  # noqa: SLF001 - None until a broker has answered
        met: BaseException | None = joining and joining._pending_exception  # noqa: SLF001
        return met

    def _held(self) -> frozenset[int]:
        return frozenset(place.partition for place in self.app.consumer.assignment() if place.topic in self._kinds)

    def _progress(self) -> Progress | None:
        return Progress(self._held(), self._kept) if self._whole and not self.refused() else None

    def row(self, order_id: str) -> Row | None:
        """One order as the view knows it."""
        found: Row | None = self.rows.data.get(order_id.encode())
        return found

    def count(self, name: str, minute: int) -> int:
        """How often something happened in the minute that began then (seconds since 1970)."""
        found: Count = self.rates.relative_to(float(minute))[name].value()
        return found.number

    async def _follow(self, stream: Any) -> None:
        # Faust acknowledges a batch also where this block was left by an error, and at the end of a stream what was in
        # no batch at all. So its own acknowledgements are off: what Kafka has the changes of is acknowledged here.
        acknowledge = stream.ack
        stream.ack, stream.enable_acks = _not_yet, False
        async with asyncio.TaskGroup() as both:
            keeping = both.create_task(self._keep_always(acknowledge))
            async for events in stream.take_events(BATCH_RECORDS_MAX, within=BATCH_SECONDS_MAX):
                self._fold(events)
                self._unkept += events
                async with self.changed:
                    self.changed.notify_all()
                    await self.changed.wait_for(self._may_fold)
            keeping.cancel()

    def _may_fold(self) -> bool:
        return len(self._unkept) < UNKEPT_RECORDS_MAX

    async def _keep_always(self, acknowledge: Callable[[Any], Awaitable[bool]]) -> None:
        """While some changes are on their way to Kafka the next are folded; a row is sent once for all its messages."""
        while True:
            async with self.changed:
                await self.changed.wait_for(lambda: self._unkept)
            events, self._unkept = self._unkept, []
            rates, rows = self.rates.table.changes(), self.rows.changes()
            # A row that Kafka has makes its messages old news, so they are counted before.
            await self.rates.table.keep(rates)
            await self.rows.keep(rows)
            async for event in in_turns(events):
                await acknowledge(event)
            self._kept += len(events)
            async with self.changed:
                self.changed.notify_all()

    def _fold(self, events: Sequence[Any]) -> None:
        fresh: dict[bytes, Row] = {}
        news: defaultdict[tuple[str, int], list[News]] = defaultdict(list)
        for event in events:
            try:
                key, row = self._folded(event, fresh, news)
            except (msgspec.DecodeError, ValueError, TypeError) as problem:
                telemetry.log.warning("the view cannot read a record", topic=event.message.topic,
                                      partition=event.message.partition, offset=event.message.offset,
                                      problem=str(problem))  # fmt: skip
                continue
            fresh[key] = row
        for key, row in fresh.items():
            self._put(key, row)
        for (name, minute), told in news.items():
            self.rates.relative_to(float(minute))[name].apply(counted, told)
        if time.monotonic() - self._swept > SWEEP_SECONDS:
            self._sweep()
        self.stamp += 1

    def _folded(
        self, event: Any, fresh: dict[bytes, Row], news: defaultdict[tuple[str, int], list[News]]
    ) -> tuple[bytes, Row]:
        message = decode[self._kinds[event.message.topic]](event.value)
        kind = (event.headers.get("ce_type") or b"").decode()
        key = message.order_id.encode()
        row = fresh.get(key) or self.rows.data.get(key) or Row()
        new = fold(row, message, kind)
        if new is not row:
            minute = int(event.message.timestamp) // MINUTE * MINUTE
            for name, number in _news(row, message, kind):
                news[name, minute].append(News(event.message.partition, event.message.offset, number))
        return key, new

    def _put(self, key: bytes, row: Row) -> None:
        old = self.rows.data.get(key)
        if is_over(row, time.time_ns() // 1_000_000):
            if old is not None:
                del self.rows[key]
            self.totals.swap(old, None)
        elif row is not old:
            if row.state is None:
                self._stateless.setdefault(key, time.monotonic())
            else:
                self._stateless.pop(key, None)
            self.rows[key] = row
            self.totals.swap(old, row)

    def _sweep(self) -> None:
        """Rows of orders that came to their end some days ago leave."""
        self._swept, now_ms = time.monotonic(), time.time_ns() // 1_000_000
        waited = [key for key, since in self._stateless.items() if self._swept - since > STATELESS_SECONDS_MAX]
        over = [key for key, row in self.rows.data.items() if is_over(row, now_ms)]
        for key in (*waited, *over):
            self._stateless.pop(key, None)
            row = self.rows.pop(key, None)
            self.totals.swap(row, None)

    async def _recovered(self) -> None:
        # Faust lets the sources flow before it has sought their committed offsets, and empties its queues after that:
        # what came in between would be lost, and yet taken for acknowledged. It starts the flow itself thereafter.
        self.app.consumer.stop_flow()
        self.totals, self._whole = Totals.of(self.rows.data.values()), True
        self._stateless = {key: time.monotonic() for key, row in self.rows.data.items() if row.state is None}
        self.stamp += 1

    async def _interrupted(self, *_: Any, **__: Any) -> None:
        self._whole = False


def _sought(consumer: Any) -> Callable[[], Awaitable[Mapping[Any, int | None]]]:
    """Also where 0 is committed, which aiokafka leaves out: Faust counts on it when it has let fetched records fall."""
    seek = consumer.seek_to_committed

    async def seek_to_committed() -> Mapping[Any, int | None]:
        committed: Mapping[Any, int | None] = await seek()
        await consumer.seek_wait({place: 0 for place, offset in committed.items() if offset == 0})
        return committed

    return seek_to_committed


async def _not_yet(_: Any) -> bool:
    return False


def _news(row: Row, message: Message, kind: str) -> Iterable[tuple[str, int]]:
    """What one more message of its kind counts for in its minute."""
    match message:
        case Event():
            yield message.type, 1
        case Command():
            yield f"asked {message.connector}", 1
        case Outcome() if (asked := row.asked.get(message.command_id or "")) is not None:
            yield f"{kind} {asked.connector}", 1
            if message.at is not None:
                yield f"answer-ms {asked.connector}", max(0, milliseconds(message.at) - asked.issued_ms)
        case _:
            return
