"""A wall clock that is set back: what waits for a time that it had almost reached would wait once more as long."""

import time

# A clock that is only steered is never moved so far from one look to the next.
SET_BACK_SECONDS_MIN = 1.0


class Clock:
    """The wall clock, held against the one that nobody sets."""

    def __init__(self) -> None:
        self._ahead = _ahead()

    def set_back_seconds(self) -> float:
        """By how much it was set back since the last look; 0 where it was only steered."""
        before, self._ahead = self._ahead, _ahead()
        seconds = before - self._ahead
        return seconds if seconds > SET_BACK_SECONDS_MIN else 0.0


def _ahead() -> float:
    return time.time() - time.monotonic()
