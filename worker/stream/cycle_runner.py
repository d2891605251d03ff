"""Makes a batch durable; a record that the database refuses is found by bisection, and becomes a dead letter."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from worker import metrics, telemetry
from worker.kafka.envelope import log_fields
from worker.kafka.records import Place, Position, Record
from worker.stream.faults import Remedy, remedy
from worker.stream.session_health import SessionHealth
from worker.stream.transaction import Commit, Transactions

ATTEMPTS_MAX = 10
INTERNAL = "internal"


class CycleRunner:
    """Retries and splits transactions until every record has a durable fate; raises errors that end the session.

    `committed` is called after each commit; `wait_for_room` returns once more may be committed.
    """

    def __init__(
        self, transactions: Transactions, committed: Callable[[Commit], Awaitable[None]],
        wait_for_room: Callable[[], Awaitable[None]], health: SessionHealth,
    ) -> None:  # fmt: skip
        self._transactions = transactions
        self._committed = committed
        self._wait_for_room = wait_for_room
        self._health = health

    async def run(self, records: list[Record], skipped: Mapping[Place, Position] | None = None) -> None:
        """Makes the fate of the records durable, in one transaction or, where the database refuses it, in halves.

        `skipped`: positions that advance although no record came.
        """
        if (problem := await self._refusal(records, skipped or {})) is None:
            return
        if len(records) > 1:
            del problem  # it holds all that the batch had caused
            half = len(records) // 2
            for part in (records[:half], records[half:]):
                await self._wait_for_room()
                await self.run(part)
        # A single record is tried twice: another worker may just have written what it collided with.
        elif (problem := await self._refusal(records, {})) is not None:
            await self._dead_letter(records[0], problem)

    async def tidy(self, skipped: Mapping[Place, Position]) -> None:
        """Deletes acknowledged rows and advances positions; the handler is not called."""
        await self._committed(await self._with_retries(lambda: self._transactions.tidy(skipped)))

    async def _refusal(self, records: list[Record], skipped: Mapping[Place, Position]) -> Exception | None:
        """Runs one transaction; returns why the database refuses its content, or None once it is durable."""
        try:
            done = await self._with_retries(lambda: self._transactions.handle(records, skipped))
        except Exception as problem:
            if remedy(problem) is not Remedy.SPLIT or not records:
                raise
            return problem
        await self._committed(done)
        return None

    async def _dead_letter(self, record: Record, problem: Exception) -> None:
        """Makes the refused record a dead letter, with an alert: a person has to know why it was refused."""
        place = log_fields(record)
        telemetry.alert(INTERNAL, **place, problem=str(problem))
        telemetry.log.error("the database refuses a record; it becomes a dead letter", **place, exc_info=problem)
        why = f"{type(problem).__name__}: {problem}"
        done = await self._with_retries(lambda: self._transactions.refuse(record, why))
        metrics.facts_total.labels(topic=record.topic, fate=INTERNAL).inc()
        await self._committed(done)

    async def _with_retries(self, transaction: Callable[[], Awaitable[Commit]]) -> Commit:
        """Runs a transaction, again where it lost against a concurrent one (deadlock, lock timeout)."""
        for attempt in range(ATTEMPTS_MAX):
            try:
                done = await transaction()
            except Exception as problem:
                if remedy(problem) is not Remedy.RETRY or attempt == ATTEMPTS_MAX - 1:
                    raise
                self._health.transaction_failed(problem)
                await asyncio.sleep(min(0.01 * 2**attempt, 1.0))
            else:
                self._health.transaction_committed()
                return done
        raise AssertionError("the last attempt returns or raises")
