"""A long computation lets the other tasks of the process run in between: the lease, the health pages."""

import time

from worker.postgres.connecting import Connection

TURN_SECONDS = 0.1


class Turns:
    """The turns of one cycle, in its transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._over = time.monotonic() + TURN_SECONDS

    async def pass_on(self) -> None:
        """Lets whoever waits run now, if our turn has lasted long enough.

        The database hears of it too: it ends a session that does nothing in its transaction, and the next one would
        compute the same for as long.
        """
        if time.monotonic() >= self._over:
            await self._connection.execute("SELECT")
            self._over = time.monotonic() + TURN_SECONDS
