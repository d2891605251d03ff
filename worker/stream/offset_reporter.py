"""Commits offsets to Kafka for lag tools, soon after the database's commit and without holding up a cycle."""

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

# Pause after each commit; an idle worker commits at once.
PAUSE_SECONDS = 0.5
RETRY_SECONDS = 1.0
# A refusal that passes sooner, as while a coordinator moves, raises no alert.
REFUSED_SECONDS_MAX = 10.0
OFFSETS_REFUSED = "offsets_refused"
# Kafka deletes offsets that nobody commits for `offsets.retention.minutes` (default: a week), also of a running worker.
REPEAT_SECONDS = 3_600.0


class OffsetReporter:
    """Commits the latest noted offset of each partition, and all of them again every `REPEAT_SECONDS`."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._uncommitted: dict[Place, int] = {}
        self._latest: dict[Place, int] = {}
        self._repeat_at = time.monotonic() + REPEAT_SECONDS
        self._noted = asyncio.Event()
        self._refused_since: float | None = None
        self._busy = asyncio.Lock()
        self._task = asyncio.create_task(self._run(), name="offset reporter")

    @property
    def failure(self) -> BaseException | None:
        """The error that ended the commits; None while they go on."""
        return failure_of(self._task)

    def note(self, offsets: Mapping[Place, int]) -> None:
        """Everything before these offsets is durable: Kafka may be told."""
        if offsets:
            self._uncommitted.update(offsets)
            self._latest.update(offsets)
            self._noted.set()

    def forget(self, partitions: Container[int]) -> None:
        """Stops reporting these partitions: another worker may report later offsets of them."""
        self._uncommitted = {place: at for place, at in self._uncommitted.items() if place[1] not in partitions}
        self._latest = {place: at for place, at in self._latest.items() if place[1] not in partitions}

    async def flush(self, seconds_max: float) -> None:
        """Commits what is uncommitted, for at most `seconds_max`; errors are ignored, as nothing depends on it."""
        with contextlib.suppress(KafkaError, OSError, TimeoutError):
            async with asyncio.timeout(seconds_max):
                await self._commit()

    async def discard(self) -> None:
        """Stops committing."""
        await end([self._task])

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REPEAT_SECONDS):
                    await self._noted.wait()
            self._noted.clear()
            if time.monotonic() >= self._repeat_at:
                self._uncommitted, self._repeat_at = dict(self._latest), time.monotonic() + REPEAT_SECONDS
            try:
                with not_by_us():
                    await self._commit()
                self._accepted()
                await asyncio.sleep(PAUSE_SECONDS)
            except (KafkaError, OSError, TimeoutError) as problem:
                self._refused(problem)
                self._noted.set()
                await asyncio.sleep(RETRY_SECONDS)

    def _accepted(self) -> None:
        self._refused_since = None
        telemetry.clear_alert(OFFSETS_REFUSED)

    def _refused(self, problem: Exception) -> None:
        """Alerts where a refusal lasts: work goes on, but lag tools show outdated offsets."""
        telemetry.log.debug("offsets not committed to Kafka yet", problem=str(problem))
        if not isinstance(problem, KafkaError) or problem.retriable:
            self._refused_since = None  # Kafka is away, which other alerts say
            return
        now = time.monotonic()
        if self._refused_since is None:
            self._refused_since = now
        if now - self._refused_since >= REFUSED_SECONDS_MAX:
            telemetry.alert(OFFSETS_REFUSED, group=self._source.group, problem=_why(problem))

    async def _commit(self) -> None:
        async with self._busy:
            if offsets := dict(self._uncommitted):
                await self._source.commit(offsets)
                self._uncommitted = {
                    place: offset for place, offset in self._uncommitted.items() if offsets.get(place) != offset
                }


def _why(problem: Exception) -> str:
    if isinstance(problem, CommitFailedError | IllegalGenerationError | UnknownMemberIdError):
        return "somebody else has joined it"
    return refusal(problem) or f"{type(problem).__name__}: {problem}"
