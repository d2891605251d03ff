"""Whether the view keeps up: Faust does not say that a topic is gone, and keeps asking where no broker is any more.

So the brokers are asked from outside, by clients that begin anew whenever they fail.
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

LOOK_SECONDS = 2.0
LOOK_SECONDS_MAX = 10.0
# How long records may wait while none is read before pages say so, and before the view has to begin anew.
STILL_SECONDS = 10.0
STILL_SECONDS_MAX = 30.0


class Progress(Struct, frozen=True):
    """How far the view is."""

    partitions: frozenset[int]
    """Which are its own."""
    kept: int
    """How many records it has done with."""


class Watch:
    """Looks every 2 s, between `start` and `stop`."""

    def __init__(
        self, settings: Settings, role: str, sources: Sequence[str], tables: Sequence[str],
        progress: Callable[[], Progress | None],
    ) -> None:  # fmt: skip
        self._sources = [settings.topic(name) for name in sources]
        self._tables = [settings.topic(name) for name in tables]
        self._role = role
        self._progress = progress
        """None: it is not reading any yet, or what holds it up is known."""
        self._lag = LagReader(settings, {role: sources})
        self._task: asyncio.Task[None] | None = None
        self._ids: dict[str, UUID] = {}
        self._goal: int | None = None
        self._last, self._since, self._waited = -1, 0.0, 0
        self._looked_at = 0.0
        self.lacking: str | None = "the view is reading its tables from Kafka"
        """What the view does not know, in words; None: nothing."""
        self.lost: str | None = None
        """Why the view cannot go on; None: it can."""

    async def start(self) -> None:
        """Looks from here on; these topics are the ones that it reads."""
        self._task = asyncio.create_task(self._look_always(), name="watch")

    async def stop(self) -> None:
        """No look any more."""
        if self._task is not None:
            await end([self._task])
        await self._lag.close()

    async def _look_always(self) -> None:
        while True:
            try:
                async with asyncio.timeout(LOOK_SECONDS_MAX):
                    await self._look()
            except (KafkaError, OSError):  # whoever looks around says so on every page
                self._since = time.monotonic()
                await self._lag.let_go()
            except Exception:  # noqa: BLE001 - nobody waits for this task: its end would be seen by nobody
                telemetry.log.exception("could not watch the view, for a reason that nobody foresaw")
                await self._lag.let_go()
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        if (gone := await self._gone(self._tables)) is not None:
            self.lost = f"the topic {gone}, in which the view keeps its tables, was deleted: they are read anew"
        elif (gone := await self._gone(self._sources)) is not None:
            self.lacking = f"the topic {gone} is missing: `settlement topics` creates it"
        else:
            self._judge((await self._lag.read())[self._role])

    async def _gone(self, topics: Sequence[str]) -> str | None:
        """One of these that is missing. One that was made anew is lost: Faust would not read it."""
        try:
            found = await self._lag.ids(topics)
        except UnknownTopicOrPartitionError as problem:
            return str(problem.args[0])
        for name, its in found.items():
            if self._ids.setdefault(name, its) != its:
                self.lost = f"the topic {name} was deleted and made anew: the view begins with it again"
        return None

    def _judge(self, lags: Sequence[int]) -> None:
        """Whether what waits becomes less."""
        progress, now = self._progress(), time.monotonic()
        before, self._looked_at = self._looked_at, now
        if now - before > LOOK_SECONDS + LOOK_SECONDS_MAX:
            self._since = now  # this process stood still itself
        if progress is None:
            self._goal, self._last = None, -1
            return
        kept, waiting = progress.kept, sum(lags[partition] for partition in progress.partitions)
        if kept != self._last or not waiting:
            self._last, self._since, self._waited = kept, now, waiting
        self._goal = kept + waiting if self._goal is None else self._goal
        still = now - self._since
        if still > STILL_SECONDS:
            self.lacking = f"{waiting:,} records wait, and none has been read for {still:.0f} s"
        elif waiting and kept < self._goal:
            self.lacking = f"{waiting:,} records wait to be read"
        else:
            self.lacking, self._goal = None, 0
        if still > STILL_SECONDS_MAX and waiting > self._waited:
            self.lost = f"{waiting:,} records wait and none is read, though Kafka answers: the view begins anew"
