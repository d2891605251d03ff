"""Detects a view that falls behind or stalls: Faust does not report a deleted topic, and retries lost brokers for ever.

So this asks the brokers with clients of its own, which connect anew whenever they fail.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from uuid import UUID

from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError
from msgspec import Struct

from worker import telemetry
from worker.cancelled import end
from worker.kafka.lag import LagReader
from worker.settings import Settings

CHECK_SECONDS = 2.0
CHECK_SECONDS_MAX = 10.0
# How long records may wait while none is read until pages say so, and until the view is restarted.
STALLED_SECONDS = 10.0
STALLED_SECONDS_MAX = 30.0


class Progress(Struct, frozen=True):
    """How far the view has read."""

    partitions: frozenset[int]
    """Those assigned to it."""
    records: int
    """How many records it has folded and acknowledged since it started."""


class Watchdog:
    """Checks every 2 s, between `start` and `stop`."""

    def __init__(
        self, settings: Settings, role: str, sources: Sequence[str], tables: Sequence[str],
        progress: Callable[[], Progress | None],
    ) -> None:  # fmt: skip
        self._sources = [settings.topic(name) for name in sources]
        self._tables = [settings.topic(name) for name in tables]
        self._role = role
        self._progress = progress
        """Returns None while the view reads nothing yet, or the reason why it waits is known already."""
        self._lag = LagReader(settings, {role: sources})
        self._task: asyncio.Task[None] | None = None
        self._ids: dict[str, UUID] = {}
        self._goal: int | None = None
        """`records` at which the view has caught up with what waited at first; 0: it has; None: not known."""
        self._records, self._records_since, self._waiting_then = -1, 0.0, 0
        """The last progress, when it was made, and how many records waited then."""
        self._checked_at = 0.0
        self.incomplete_reason: str | None = "the view is reading its tables from Kafka"
        """Why the pages do not show everything yet; None: they do."""
        self.fatal_reason: str | None = None
        """Why the view must be restarted; None: it can go on."""

    async def start(self) -> None:
        """Starts to check. The topics that exist now are those that the view reads: remember their ids."""
        self._task = asyncio.create_task(self._check_forever(), name="watch")

    async def stop(self) -> None:
        if self._task is not None:
            await end([self._task])
        await self._lag.close()

    async def _check_forever(self) -> None:
        while True:
            try:
                async with asyncio.timeout(CHECK_SECONDS_MAX):
                    await self._check()
            except (KafkaError, OSError):  # the deployment monitor reports it on every page
                self._records_since = time.monotonic()
                await self._lag.close_quietly()
            except Exception:  # noqa: BLE001 - nobody awaits this task: its end would go unnoticed
                telemetry.log.exception("could not watch the view, for a reason that nobody foresaw")
                await self._lag.close_quietly()
            await asyncio.sleep(CHECK_SECONDS)

    async def _check(self) -> None:
        if (missing := await self._missing_topic(self._tables)) is not None:
            self.fatal_reason = (
                f"the topic {missing}, in which the view keeps its tables, was deleted: they are read anew"
            )
        elif (missing := await self._missing_topic(self._sources)) is not None:
            self.incomplete_reason = f"the topic {missing} is missing: `settlement topics` creates it"
        else:
            self._judge((await self._lag.read())[self._role])

    async def _missing_topic(self, topics: Sequence[str]) -> str | None:
        """Returns one that does not exist. One that was created anew is fatal: Faust would not read it."""
        try:
            ids = await self._lag.topic_ids(topics)
        except UnknownTopicOrPartitionError as problem:
            return str(problem.args[0])
        for name, id_ in ids.items():
            if self._ids.setdefault(name, id_) != id_:
                self.fatal_reason = f"the topic {name} was deleted and made anew: the view begins with it again"
        return None

    def _judge(self, lags: Sequence[int]) -> None:
        """Sets the reasons by whether fewer records wait than before."""
        progress, now = self._progress(), time.monotonic()
        last_check, self._checked_at = self._checked_at, now
        if now - last_check > CHECK_SECONDS + CHECK_SECONDS_MAX:
            self._records_since = now  # this process itself was suspended
        if progress is None:
            self._goal, self._records = None, -1
            return
        records, waiting = progress.records, sum(lags[partition] for partition in progress.partitions)
        if records != self._records or not waiting:
            self._records, self._records_since, self._waiting_then = records, now, waiting
        self._goal = records + waiting if self._goal is None else self._goal
        stalled_seconds = now - self._records_since
        if stalled_seconds > STALLED_SECONDS:
            self.incomplete_reason = f"{waiting:,} records wait, and none has been read for {stalled_seconds:.0f} s"
        elif waiting and records < self._goal:
            self.incomplete_reason = f"{waiting:,} records wait to be read"
        else:
            self.incomplete_reason, self._goal = None, 0
        if stalled_seconds > STALLED_SECONDS_MAX and waiting > self._waiting_then:
            self.fatal_reason = f"{waiting:,} records wait and none is read, though Kafka answers: the view begins anew"
