"""The live view: a Faust app whose agent folds the output topics into tables, which changelog topics in Kafka keep.

Two tables: `ORDERS` (a row per order that is live or ended in the last two days) and `rates` (how often each thing
happened in each minute). Sums are computed from the rows in memory, and again after a recovery, so a kill between two
writes cannot make them drift. After a kill the rows come to equal the ledger again, and the rates come to equal what
happened: a message's offset is committed only when Kafka has acknowledged the rows that it changed, and rows are
written after the counts.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from tempfile import TemporaryDirectory
from typing import Any

import faust
from aiokafka.errors import KafkaError

from worker import telemetry
from worker.kafka import names
from worker.kafka.refusals import describe_kafka_error
from worker.ops import changelogs
from worker.ops.count import Count
from worker.ops.folding import MINUTE, Folding
from worker.ops.row import Row
from worker.ops.table import BulkTable, Model, with_pauses
from worker.ops.totals import Totals
from worker.ops.watchdog import Progress, Watchdog
from worker.settings import Settings

ROLE = "ops"
TOPICS = {names.ORDERS: "state", names.EVENTS: "event", names.COMMANDS: "command", names.OUTCOMES: "outcome"}
BATCH_RECORDS_MAX = 2_000
BATCH_SECONDS_MAX = 0.4
# How many folded records may wait to be written to Kafka; then no more are folded.
UNWRITTEN_RECORDS_MAX = 10_000
RATES_KEPT_SECONDS = 26 * 3600
STOP_SECONDS_MAX = 10.0
# Rows of another shape need another name, so that the table is built anew.
ORDERS = "orders-3"
# The topics in which Kafka keeps the tables, with their settings.
CHANGELOGS = {
    f"{names.group(ROLE)}-{ORDERS}-changelog": {"cleanup.policy": "compact"},
    f"{names.group(ROLE)}-rates-changelog": {
        "cleanup.policy": "compact,delete", "retention.ms": str(RATES_KEPT_SECONDS * 1000),
    },
}  # fmt: skip


class RowModel(Model, of=Row):
    """The value type of `ORDERS`."""


class CountModel(Model, of=Count):
    """The value type of `rates`."""


class View:
    """Consumes the topics between `start` and `stop`; the pages only read its tables and sums."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._kinds = {settings.topic(name): kind for name, kind in TOPICS.items()}
        self.changed = asyncio.Condition()
        """Notified after every batch that changed something."""
        self.revision = 0
        """Goes up with every change."""
        self._scratch = TemporaryDirectory(prefix="settlement-ops-")  # Faust needs a folder, and leaves it empty
        self.app = faust.App(
            settings.topic(names.group(ROLE)),
            datadir=self._scratch.name,
            Table=BulkTable,
            **changelogs.faust_options(settings),
        )
        partitions = settings.topic_partitions
        self.rows: Any = self.app.Table(
            ORDERS, partitions=partitions, key_type=bytes, value_type=RowModel, on_recover=self._on_recovered
        )
        rates = self.app.Table("rates", partitions=partitions, default=Count, value_type=CountModel)
        self.rates: Any = rates.tumbling(MINUTE, expires=RATES_KEPT_SECONDS)
        self._folding = Folding(self.rows, self.rates, self._kinds)
        topic = self.app.topic(*self._kinds, key_serializer="raw", value_serializer="raw")
        self.app.agent(topic, name="fold")(self._consume)
        # Faust logs a partition that is idle for minutes as an error, and each commit that takes some seconds as an
        # overlapping timer; our own lag says more.
        logging.getLogger("faust.transport.drivers.aiokafka").setLevel(logging.CRITICAL)
        logging.getLogger("mode.timers").setLevel(logging.ERROR)
        self.app.on_partitions_revoked.connect(self._on_partitions_revoked)
        self._has_recovered = False
        self.faust_stopped = False
        """Whether all of Faust has ended. While it has not, its thread keeps the process from ending."""
        self._unwritten: list[Any] = []
        """Events whose changes are still to be written to Kafka."""
        self._records_done = 0
        self._watchdog = Watchdog(settings, ROLE, list(TOPICS), list(CHANGELOGS), self._progress)

    async def start(self) -> None:
        """Recovers the tables in the background; until then `incomplete_reason` says so."""
        await changelogs.prepare(self._settings, names.group(ROLE), list(TOPICS), CHANGELOGS)
        consumer: Any = self.app.consumer
        consumer.seek_to_committed = _seeking_to_zero_too(consumer)
        await self.app.start()
        await self._watchdog.start()

    async def stop(self) -> None:
        """Commits the offsets that are acknowledged; the other records are read again after a start."""
        await self._watchdog.stop()
        # If the thread of its clients has failed, Faust waits for that thread for ever, or raises the thread's error.
        # And it waits for writes that Kafka does not acknowledge, ignoring a cancellation.
        stopping = asyncio.create_task(self.app.stop(), name="stop of Faust")
        await asyncio.wait([stopping], timeout=STOP_SECONDS_MAX)
        if not stopping.done() or stopping.cancelled() or stopping.exception():
            telemetry.log.warning("Faust did not stop as it should: what Kafka has not acknowledged is read again")
            stopping.cancel()
        else:
            self.faust_stopped = True
        self._scratch.cleanup()

    def incomplete_reason(self) -> str | None:
        """Why the pages do not show everything; None: they do."""
        if self.app.crashed:
            return "the view has crashed; the log says why"
        if not self._has_recovered:
            return "the view is reading its tables from Kafka"
        if (lacking := self._settings.topic_partitions - len(self._assigned())) > 0:
            return f"{lacking} partitions are with another ops view of this group; each shows its own part only"
        return self.write_refusal() or self._watchdog.incomplete_reason

    def write_refusal(self) -> str | None:
        """Why Kafka refuses to keep the view's tables; None: it does not."""
        refusal = self.rows.refusal or self.rates.table.refusal
        return f"what the view knows is not kept: Kafka {refusal}" if refusal else None

    def fatal_reason(self) -> str | None:
        """Why the program must end, to be started again; None: it goes on."""
        match self._failure():
            case None:
                return self._watchdog.fatal_reason
            case KafkaError() as problem:
                return describe_kafka_error(problem)
            case problem:
                return f"the view has crashed: {problem!r}"

    def _failure(self) -> BaseException | None:
        """What ended Faust, or why Kafka refuses it the group, which Faust ignores until it is a member."""
        if self.app.crashed:
            return self.app.crash_reason
        consumer: Any = self.app.consumer
        client = None if self._has_recovered else consumer._thread._consumer  # noqa: SLF001 - not public
        coordinator = client and client._coordinator  # noqa: SLF001 - None until a broker has answered
        pending: BaseException | None = coordinator and coordinator._pending_exception  # noqa: SLF001
        return pending

    def _assigned(self) -> frozenset[int]:
        return frozenset(place.partition for place in self.app.consumer.assignment() if place.topic in self._kinds)

    def _progress(self) -> Progress | None:
        if not self._has_recovered or self.write_refusal():
            return None
        return Progress(self._assigned(), self._records_done)

    @property
    def totals(self) -> Totals:
        return self._folding.totals

    def row(self, order_id: str) -> Row | None:
        row: Row | None = self.rows.data.get(order_id.encode())
        return row

    def count(self, name: str, minute: int) -> int:
        """How often `name` happened in the minute that began at `minute`, in seconds since 1970."""
        count: Count = self.rates.relative_to(float(minute))[name].value()
        return count.number

    async def _consume(self, stream: Any) -> None:
        # Faust acknowledges a batch even if this block raised an error, and at the end of a stream even records that
        # were in no batch. So its acknowledgements are off: events are acknowledged once Kafka has their changes.
        acknowledge = stream.ack
        stream.ack, stream.enable_acks = _ignore_acknowledgement, False
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(self._write_forever(acknowledge))
            async for events in stream.take_events(BATCH_RECORDS_MAX, within=BATCH_SECONDS_MAX):
                self._folding.fold(events)
                self.revision += 1
                self._unwritten += events
                async with self.changed:
                    self.changed.notify_all()
                    await self.changed.wait_for(self._may_fold)
            writing.cancel()

    def _may_fold(self) -> bool:
        return len(self._unwritten) < UNWRITTEN_RECORDS_MAX

    async def _write_forever(self, acknowledge: Callable[[Any], Awaitable[bool]]) -> None:
        """Writes changes to Kafka while the next events are folded; a row that changed often is sent once."""
        while True:
            async with self.changed:
                await self.changed.wait_for(lambda: self._unwritten)
            events, self._unwritten = self._unwritten, []
            rates, rows = self.rates.table.take_changes(), self.rows.take_changes()
            # Counts go first: once its row is in Kafka, a message that is read again changes nothing and adds no count.
            await self.rates.table.write(rates)
            await self.rows.write(rows)
            async for event in with_pauses(events):
                await acknowledge(event)
            self._records_done += len(events)
            async with self.changed:
                self.changed.notify_all()

    async def _on_recovered(self) -> None:
        # Faust starts to consume the sources before it has sought their committed offsets, and empties its queues after
        # that: records in between would be lost, yet count as acknowledged. It starts the flow again by itself.
        self.app.consumer.stop_flow()
        if len(assigned := self._assigned()) < self._settings.topic_partitions:
            self.rows.keep_only(assigned)
        self._folding.begin()
        self._has_recovered = True
        self.revision += 1

    async def _on_partitions_revoked(self, *_: Any, **__: Any) -> None:
        self._has_recovered = False


def _seeking_to_zero_too(consumer: Any) -> Callable[[], Awaitable[Mapping[Any, int | None]]]:
    """Seeks also to a committed 0, which aiokafka skips: Faust relies on it after it dropped fetched records."""
    seek = consumer.seek_to_committed

    async def seek_to_committed() -> Mapping[Any, int | None]:
        committed: Mapping[Any, int | None] = await seek()
        await consumer.seek_wait({place: 0 for place, offset in committed.items() if offset == 0})
        return committed

    return seek_to_committed


async def _ignore_acknowledgement(_: Any) -> bool:
    return False
