"""Runs one transaction: fence, handle, book, commit. Nothing is published before the commit."""

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import asyncpg
from msgspec import Struct

from worker import metrics
from worker.kafka.records import Place, Position, Record
from worker.postgres.connecting import Connection, connect
from worker.postgres.queries import load
from worker.stream import locks, outbox
from worker.stream.control import Control
from worker.stream.cycle import Cycle, Handler
from worker.stream.dead_letters import write_dead_letters
from worker.stream.faults import FencedError, HeldUpError, Remedy, UncertainCommitError, remedy
from worker.stream.misplaced_rows import MisplacedRows
from worker.stream.offsets import place_columns, position_columns
from worker.stream.outbox import Row
from worker.stream.ownership import Ownership
from worker.stream.publisher import Publisher

# After these errors the same connection runs the next transaction.
_CONNECTION_STAYS = (Remedy.SPLIT, Remedy.RETRY)

_SQL = load("worker.stream")


class Commit(Struct, frozen=True):
    """What one commit made durable."""

    cycle: Cycle
    rows: list[Row]
    """To publish, in this order."""
    positions: dict[Place, int]
    deleted: list[int]
    """Ids of acknowledged outbox rows that are gone."""
    reached: dict[Place, int]
    """Acknowledged offsets that were stored in `published`."""


class Transactions:
    """Runs cycles, one after another, on one connection that lasts from `open` to `close`."""

    def __init__(
        self,
        control: Control,
        handler: Handler,
        ownership: Ownership,
        publisher: Publisher,
        misplaced: MisplacedRows,
        dead_letter_bytes: Mapping[str, int],
    ) -> None:
        self._control = control
        self._settings = control.settings
        self._handler = handler
        self._ownership = ownership
        self._publisher = publisher
        self._misplaced = misplaced
        self._dead_letter_bytes = dead_letter_bytes
        self._connection: Connection | None = None

    async def open(self) -> None:
        """Connects under the member's name, so that whoever buries this member ends this session too."""
        self._connection = await connect(
            self._settings.database, name=self._ownership.session_name, schema=self._handler.role,
            plan_cache_mode="force_generic_plan",  # the plan that tests check, whatever the size of the batch
        )  # fmt: skip

    def close(self) -> None:
        """Closes the connection at once; a transaction under way is rolled back."""
        if self._connection is not None:
            self._connection.terminate()

    @property
    def connection(self) -> Connection:
        if self._connection is None:
            raise RuntimeError("open comes first")
        return self._connection

    async def handle(self, records: list[Record], skipped: Mapping[Place, Position]) -> Commit:
        """Commits all that the records caused, or nothing; `skipped` positions advance although no record came."""
        return await self._run(records, skipped, self._handler.handle)

    async def tidy(self, skipped: Mapping[Place, Position]) -> Commit:
        """Deletes acknowledged rows and advances positions; the handler is not called."""
        return await self._run([], skipped)

    async def refuse(self, record: Record, why: str) -> Commit:
        """Commits a dead letter in place of what the record would have caused."""

        async def write_dead_letter(cycle: Cycle) -> None:
            cycle.dead_letter(record, "internal", why)

        return await self._run([record], {}, write_dead_letter)

    async def _run(
        self, records: list[Record], skipped: Mapping[Place, Position],
        work: Callable[[Cycle], Awaitable[None]] | None = None,
    ) -> Commit:  # fmt: skip
        began = time.monotonic()
        cycle = Cycle(
            self.connection, records, self._control.epochs, time.time_ns() // 1_000_000, self._settings.topic_partitions
        )
        async with self.fenced():
            if work is not None:
                await work(cycle)
            done = await self._book(cycle, skipped)
        metrics.cycle_seconds.observe(time.monotonic() - began)
        metrics.cycle_records.observe(len(records))
        return done

    @contextlib.asynccontextmanager
    async def fenced(self) -> AsyncIterator[None]:
        """One transaction, in which no partition of ours changes hands; commits at the end."""
        await self.connection.execute("BEGIN")
        try:
            await self._fence()
            yield
        except BaseException as problem:
            await self._end_after(problem)
            if isinstance(problem, asyncpg.LockNotAvailableError):
                raise HeldUpError(await locks.describe_lock_timeout(problem, self.connection)) from problem
            raise
        await self._commit()

    async def _fence(self) -> None:
        epochs = self._control.epochs
        held = await self.connection.fetchval(
            _SQL["fence"], self._ownership.member_id, list(epochs), list(epochs.values())
        )
        if held != len(epochs):
            raise FencedError(f"{len(epochs) - held} of {len(epochs)} partitions are no longer ours")

    async def _commit(self) -> None:
        """An error here does not mean a rollback, unless the database says why it refused."""
        try:
            await self.connection.execute("COMMIT")
        except Exception as problem:
            if remedy(problem) in _CONNECTION_STAYS:
                await self._end_after(problem)
                raise
            raise UncertainCommitError(str(problem)) from problem

    async def _end_after(self, problem: BaseException) -> None:
        """Rolls back if the connection is used again; else closes it: a silent server answers no ROLLBACK either."""
        if remedy(problem) in _CONNECTION_STAYS:
            await self.connection.execute("ROLLBACK")
        else:
            self.connection.terminate()

    async def _book(self, cycle: Cycle, skipped: Mapping[Place, Position]) -> Commit:
        misplaced, more = await self._misplaced.find(self.connection, list(self._control.epochs))
        read = {**skipped, **{record.place: record.position for record in cycle.records}}
        deleted, reached = self._publisher.acknowledged()
        if deleted:
            cycle.writes.add(_SQL["delete_rows"], deleted)
        if reached:
            cycle.writes.add(_SQL["advance_published"], *place_columns(reached))
        if read:
            cycle.writes.add(_SQL["advance_positions"], *position_columns(read))
        await write_dead_letters(cycle, self._settings.topic_prefix, self._dead_letter_bytes)
        rows = await outbox.write(cycle, behind=more)
        return Commit(cycle, misplaced + rows, {place: at.next_offset for place, at in read.items()}, deleted, reached)
