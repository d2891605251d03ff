"""Notices that the wall clock was set back: whatever waits for a certain time would wait that much longer."""

import time

# A clock that is only slewed never moves so far between two looks.
SET_BACK_SECONDS_MIN = 1.0


class Clock:
    """The wall clock, compared with the monotonic one, which nobody can set."""

    def __init__(self) -> None:
        self._ahead = _ahead()

    def set_back_seconds(self) -> float:
        """How far it was set back since the last call; 0 where it was only slewed."""
        before, self._ahead = self._ahead, _ahead()
        seconds = before - self._ahead
        return seconds if seconds > SET_BACK_SECONDS_MIN else 0.0


def _ahead() -> float:
    return time.time() - time.monotonic()
