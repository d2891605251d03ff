"""SIGHUP asks a worker to read its connectors file again: once for all signals that come at about the same time."""

import asyncio
from collections.abc import Callable

GATHERED_SECONDS = 0.2


class HangUps:
    """A large file takes a while to read: read anew for each of many signals, it would leave no time for cycles."""

    def __init__(self, answer: Callable[[], None]) -> None:
        self._answer = answer
        self._answered_soon = False

    def hear(self) -> None:
        """One has come."""
        if not self._answered_soon:
            self._answered_soon = True
            asyncio.get_running_loop().call_later(GATHERED_SECONDS, self._answer_all)

    def _answer_all(self) -> None:
        self._answered_soon = False
        self._answer()
