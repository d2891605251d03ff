"""Gauges that are queried from the tables, only when somebody looks at the metrics."""

import time

from worker import metrics
from worker.postgres.connecting import Connection, connected
from worker.postgres.queries import load
from worker.stream.control import Control
from worker.stream.cycle import Handler
from worker.stream.faults import Remedy, remedy
from worker.telemetry import log

# However many scrapers ask, the tables are queried once in this time: each query opens a database session.
PAUSE_SECONDS = 5.0
STATEMENT_TIMEOUT = "2s"

_SQL = load("worker.stream")


class TableMetrics:
    """Queries in a session of its own: a slow query holds up no cycle. After an error gauges keep their value."""

    def __init__(self, handler: Handler, control: Control) -> None:
        self._handler = handler
        self._control = control
        self._again_at = 0.0

    async def refresh(self) -> None:
        """Sets the gauges, unless they were set within the last `PAUSE_SECONDS`."""
        if time.monotonic() < self._again_at or not self._control.epochs:
            return
        self._again_at = time.monotonic() + PAUSE_SECONDS
        role = self._handler.role
        try:
            async with connected(
                self._control.settings.database, name=f"settlement-{role} metrics", schema=role,
                statement_timeout=STATEMENT_TIMEOUT, default_transaction_read_only="on",
            ) as connection:  # fmt: skip
                await self._query(connection, list(self._control.epochs))
        except Exception as problem:
            if remedy(problem) is Remedy.EXIT:
                raise
            log.debug("the tables were not measured", problem=str(problem))

    async def _query(self, connection: Connection, partitions: list[int]) -> None:
        rows = await connection.fetch(_SQL["count_open_dead_letters"], partitions)
        metrics.dead_letters_open.clear()
        for row in rows:
            metrics.dead_letters_open.labels(topic=row["topic"], reason=row["reason"]).set(row["number"])
        await self._handler.measure(connection, partitions)
