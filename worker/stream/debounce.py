"""Gathers signals that arrive in a burst into one call."""

import asyncio
from collections.abc import Callable

DELAY_SECONDS = 0.2


class Debouncer:
    """Calls `action` once for all triggers within `DELAY_SECONDS`.

    Reading a large connectors file for each of many SIGHUPs would leave no time for cycles.
    """

    def __init__(self, action: Callable[[], None]) -> None:
        self._action = action
        self._scheduled = False

    def trigger(self) -> None:
        """Schedules the action, unless it is scheduled already."""
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_later(DELAY_SECONDS, self._run)

    def _run(self) -> None:
        self._scheduled = False
        self._action()
