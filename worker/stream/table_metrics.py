"""Gauges that are queried from the tables, only when somebody looks at the metrics."""

import asyncio
import time

from worker import metrics
from worker.postgres.connecting import Connection, connect
from worker.postgres.queries import load
from worker.stream.control import Control
from worker.stream.cycle import Handler
from worker.stream.faults import Remedy, remedy
from worker.telemetry import log

# However many scrapers ask, the tables are queried once in this time: each query opens a database session.
PAUSE_SECONDS = 5.0
STATEMENT_TIMEOUT = "2s"
# How long the metrics wait for the tables; then they are shown with what was known before.
WAIT_SECONDS_MAX = 0.5

_SQL = load("worker.stream")


class TableMetrics:
    """Queries in a session of its own, so that a slow one holds up no cycle. After an error gauges keep their value."""

    def __init__(self, handler: Handler, control: Control) -> None:
        self._handler = handler
        self._control = control
        self._again_at = 0.0
        self._querying: asyncio.Task[None] | None = None

    async def refresh(self) -> None:
        """Sets the gauges, unless they were set within the last `PAUSE_SECONDS`. A slow query goes on without us."""
        now, under_way = time.monotonic(), self._querying is not None and not self._querying.done()
        if self._control.epochs and now >= self._again_at and not under_way:
            self._again_at = now + PAUSE_SECONDS
            self._querying = asyncio.create_task(self._query(list(self._control.epochs)), name="table metrics")
        if self._querying is not None:
            await asyncio.wait([self._querying], timeout=WAIT_SECONDS_MAX)

    async def _query(self, partitions: list[int]) -> None:
        role = self._handler.role
        try:
            connection = await connect(
                self._control.settings.database, name=f"settlement-{role} metrics", schema=role,
                statement_timeout=STATEMENT_TIMEOUT, default_transaction_read_only="on",
            )  # fmt: skip
            try:
                await self._set_gauges(connection, partitions)
            finally:
                connection.terminate()  # an orderly end waits for a server that may be silent
        except Exception as problem:  # noqa: BLE001 - nobody awaits this task: its end would go unnoticed
            if remedy(problem) is Remedy.EXIT:
                log.exception("the tables cannot be measured, for a reason that nobody foresaw")
            else:
                log.debug("the tables were not measured", problem=str(problem))

    async def _set_gauges(self, connection: Connection, partitions: list[int]) -> None:
        rows = await connection.fetch(_SQL["count_open_dead_letters"], partitions)
        metrics.dead_letters_open.clear()
        for row in rows:
            metrics.dead_letters_open.labels(topic=row["topic"], reason=row["reason"]).set(row["number"])
        await self._handler.measure(connection, partitions)
