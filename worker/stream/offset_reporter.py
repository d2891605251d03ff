"""Offsets for the lag tools: after the database's commit, soon, and without ever holding up a cycle."""

import asyncio
import contextlib
import time
from collections.abc import Container, Mapping

from aiokafka.errors import CommitFailedError, IllegalGenerationError, KafkaError, UnknownMemberIdError

from worker import telemetry
from worker.cancelled import end, failure_of, not_by_us
from worker.kafka.records import Place
from worker.kafka.refusals import refusal
from worker.kafka.source import Source

# Between two commits under load; an idle worker commits at once.
PAUSE_SECONDS = 0.5
RETRY_SECONDS = 1.0
# A refusal that passes sooner, as while a coordinator moves, is not worth an alert.
REFUSED_SECONDS_MAX = 10.0
OFFSETS_REFUSED = "offsets_refused"
# Kafka forgets what nobody commits for `offsets.retention.minutes`, a week unless set; also of a worker that runs.
AGAIN_SECONDS = 3_600.0


class OffsetReporter:
    """Commits the latest offset of each partition that it was told, and now and then all of them again."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._offsets: dict[Place, int] = {}
        self._told_ever: dict[Place, int] = {}
        self._again_at = time.monotonic() + AGAIN_SECONDS
        self._told = asyncio.Event()
        self._refused_since: float | None = None
        self._busy = asyncio.Lock()
        self._task = asyncio.create_task(self._run(), name="offset reporter")

    @property
    def failure(self) -> BaseException | None:
        """Why it commits nothing more."""
        return failure_of(self._task)

    def note(self, offsets: Mapping[Place, int]) -> None:
        """Everything before these offsets is durable, and may be told to Kafka."""
        if offsets:
            self._offsets.update(offsets)
            self._told_ever.update(offsets)
            self._told.set()

    def forget(self, partitions: Container[int]) -> None:
        """These are somebody else's to report: Kafka's client refuses a commit that names one it no longer reads."""
        self._offsets = {place: at for place, at in self._offsets.items() if place[1] not in partitions}
        self._told_ever = {place: at for place, at in self._told_ever.items() if place[1] not in partitions}

    async def flush(self, seconds_max: float) -> None:
        """What was told is with Kafka, or the time is over: nothing depends on it."""
        with contextlib.suppress(KafkaError, OSError, TimeoutError):
            async with asyncio.timeout(seconds_max):
                await self._commit()

    async def discard(self) -> None:
        """Commits nothing more."""
        await end([self._task])

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(AGAIN_SECONDS):
                    await self._told.wait()
            self._told.clear()
            if time.monotonic() >= self._again_at:
                self._offsets, self._again_at = dict(self._told_ever), time.monotonic() + AGAIN_SECONDS
            try:
                with not_by_us():
                    await self._commit()
                self._taken()
                await asyncio.sleep(PAUSE_SECONDS)
            except (KafkaError, OSError, TimeoutError) as problem:
                self._not_taken(problem)
                self._told.set()
                await asyncio.sleep(RETRY_SECONDS)

    def _taken(self) -> None:
        self._refused_since = None
        telemetry.clear_alert(OFFSETS_REFUSED)

    def _not_taken(self, problem: Exception) -> None:
        """A refusal that lasts is an alert: work goes on, but lag tools show what is not true."""
        telemetry.log.debug("offsets not committed to Kafka yet", problem=str(problem))
        if not isinstance(problem, KafkaError) or problem.retriable:
            self._refused_since = None  # Kafka is away, which others say
            return
        now = time.monotonic()
        if self._refused_since is None:
            self._refused_since = now
        if now - self._refused_since >= REFUSED_SECONDS_MAX:
            telemetry.alert(OFFSETS_REFUSED, group=self._source.group, problem=_why(problem))

    async def _commit(self) -> None:
        async with self._busy:
            if offsets := dict(self._offsets):
                await self._source.commit(offsets)
                self._offsets = {place: now for place, now in self._offsets.items() if offsets.get(place) != now}


def _why(problem: Exception) -> str:
    if isinstance(problem, CommitFailedError | IllegalGenerationError | UnknownMemberIdError):
        return "somebody else has joined it"
    return refusal(problem) or f"{type(problem).__name__}: {problem}"
