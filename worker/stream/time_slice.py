"""Lets a long computation yield to the other tasks of the process: lease renewal, health pages."""

import time

from worker.postgres.connecting import Connection

SLICE_SECONDS = 0.1


class TimeSlice:
    """The time for which one cycle may compute before it yields."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._ends_at = time.monotonic() + SLICE_SECONDS

    async def yield_if_over(self) -> None:
        """Yields to the event loop if the slice is over, and begins the next one.

        It yields by a statement, since PostgreSQL ends a session that idles in its transaction for too long.
        """
        if time.monotonic() >= self._ends_at:
            await self._connection.execute("SELECT")
            self._ends_at = time.monotonic() + SLICE_SECONDS
