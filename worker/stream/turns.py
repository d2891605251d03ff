"""A long computation lets the other tasks of the process run in between: the lease, the health pages."""

import asyncio
import time

TURN_SECONDS = 0.1


class Turns:
    """The turns of one cycle."""

    def __init__(self) -> None:
        self._over = time.monotonic() + TURN_SECONDS

    async def pass_on(self) -> None:
        """Whoever waits runs now, if ours has lasted long enough."""
        if time.monotonic() >= self._over:
            await asyncio.sleep(0)
            self._over = time.monotonic() + TURN_SECONDS
