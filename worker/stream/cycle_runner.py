"""Makes a batch durable; a record that the database refuses is found by bisection, and becomes a dead letter."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from worker import metrics, telemetry
from worker.kafka.envelope import log_fields
from worker.kafka.records import Place, Position, Record
from worker.stream.faults import Remedy, remedy
from worker.stream.session_health import SessionHealth
from worker.stream.transaction import Done, Transactions

AGAIN_ATTEMPTS_MAX = 10
INTERNAL = "internal"


class CycleRunner:
    """Repeats, halves and refuses, until each record has its fate; anything worse is raised."""

    def __init__(
        self, transactions: Transactions, durable: Callable[[Done], Awaitable[None]],
        room: Callable[[], Awaitable[None]], health: SessionHealth,
    ) -> None:  # fmt: skip
        self._transactions = transactions
        self._durable = durable
        self._room = room
        self._health = health

    async def run(
        self, records: list[Record], *, again: bool = False, passed: Mapping[Place, Position] | None = None
    ) -> None:
        """The records' fate is durable afterwards; a refused batch is halved until one record is left.

        That one is tried once more: what it collided with another worker may just have written, and is visible now.
        """
        if (problem := await self._refusal(records, passed)) is None:
            return
        if len(records) > 1:
            del problem  # it holds all that the batch had caused
            half = len(records) // 2
            for part in (records[:half], records[half:]):
                await self._room()
                await self.run(part)
        elif not again:
            await self.run(records, again=True)
        else:
            await self._durable(await self._refuse(records[0], problem))

    async def _refusal(self, records: list[Record], passed: Mapping[Place, Position] | None) -> Exception | None:
        """Why the database refuses the batch as it is; None: it is durable."""
        try:
            done = await self._with_retries(lambda: self._transactions.cycle(records, passed=passed))
        except Exception as problem:
            if remedy(problem) is not Remedy.SPLIT or not records:
                raise
            return problem
        await self._durable(done)
        return None

    async def tidy(self, passed: Mapping[Place, Position]) -> None:
        """Nothing is handled: what was acknowledged is deleted, and positions advance."""
        await self._durable(
            await self._with_retries(lambda: self._transactions.cycle([], handled=False, passed=passed))
        )

    async def _refuse(self, record: Record, problem: Exception) -> Done:
        """What the database does not take is a dead letter, and a person has to know why."""
        place = log_fields(record)
        telemetry.alert(INTERNAL, **place, problem=str(problem))
        telemetry.log.error("the database refuses a record; it becomes a dead letter", **place, exc_info=problem)
        why = f"{type(problem).__name__}: {problem}"
        done = await self._with_retries(lambda: self._transactions.cycle([record], refused=why))
        metrics.facts_total.labels(topic=record.topic, fate=INTERNAL).inc()
        return done

    async def _with_retries(self, transaction: Callable[[], Awaitable[Done]]) -> Done:
        """Repeats a transaction that lost against a concurrent one."""
        for attempt in range(AGAIN_ATTEMPTS_MAX):
            try:
                done = await transaction()
            except Exception as problem:
                if remedy(problem) is not Remedy.RETRY or attempt == AGAIN_ATTEMPTS_MAX - 1:
                    raise
                self._health.transaction_failed(problem)
                await asyncio.sleep(min(0.01 * 2**attempt, 1.0))
            else:
                self._health.transaction_committed()
                return done
        raise AssertionError("the last attempt returns or raises")
