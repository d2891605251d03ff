"""Gauges that only the tables can answer: measured when somebody looks at the metrics, and not more often."""

import time

from worker import metrics
from worker.postgres.connecting import Connection, connected
from worker.postgres.queries import load
from worker.stream.control import Control
from worker.stream.cycle import Handler
from worker.stream.faults import Remedy, remedy
from worker.telemetry import log

# However many scrapers ask, the tables are measured once in this time: each look opens a session of its own.
PAUSE_SECONDS = 5.0
STATEMENT_TIMEOUT = "2s"

_SQL = load("worker.stream")


class TableMetrics:
    """Asks in a session of its own: a slow query holds up no cycle. What cannot be asked keeps its last value."""

    def __init__(self, handler: Handler, control: Control) -> None:
        self._handler = handler
        self._control = control
        self._again_at = 0.0

    async def refresh(self) -> None:
        """Afterwards the gauges of the tables are fresh, or no older than the pause."""
        if time.monotonic() < self._again_at or not self._control.epochs:
            return
        self._again_at = time.monotonic() + PAUSE_SECONDS
        role = self._handler.role
        try:
            async with connected(
                self._control.settings.database, name=f"settlement-{role} metrics", schema=role,
                statement_timeout=STATEMENT_TIMEOUT, default_transaction_read_only="on",
            ) as connection:  # fmt: skip
                await self._ask(connection, list(self._control.epochs))
        except Exception as problem:
            if remedy(problem) is Remedy.EXIT:
                raise
            log.debug("the tables were not measured", problem=str(problem))

    async def _ask(self, connection: Connection, partitions: list[int]) -> None:
        rows = await connection.fetch(_SQL["count_open_dead_letters"], partitions)
        metrics.dead_letters_open.clear()
        for row in rows:
            metrics.dead_letters_open.labels(topic=row["topic"], reason=row["reason"]).set(row["number"])
        await self._handler.measure(connection, partitions)
