"""A cycle may have much to compute: meanwhile others get their turn, the lease and the health pages among them."""

import asyncio
import time

TURN_SECONDS = 0.1


class Turns:
    """Of one cycle."""

    def __init__(self) -> None:
        self._over = time.monotonic() + TURN_SECONDS

    async def pass_on(self) -> None:
        """Whoever waits runs now, if ours has lasted long enough."""
        if time.monotonic() >= self._over:
            await asyncio.sleep(0)
            self._over = time.monotonic() + TURN_SECONDS
