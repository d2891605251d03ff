"""The clocks of a worker: one for its lease, and a watch on the wall clock."""

import time

# A clock that is only slewed never moves so far between two looks.
SET_BACK_SECONDS_MIN = 1.0
# Linux's monotonic clock stands still while the machine is suspended, and leases run out meanwhile.
_LEASE_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def lease_time() -> float:
    """Seconds of a clock that nobody can set and that runs on while the machine is suspended."""
    return time.clock_gettime(_LEASE_CLOCK)


class WallClock:
    """Notices that the wall clock was set back: what is due at a certain time would wait that much longer."""

    def __init__(self) -> None:
        self._ahead = _ahead_of_monotonic()

    def set_back_seconds(self) -> float:
        """How far it was set back since the last call; 0 where it was only slewed."""
        before, self._ahead = self._ahead, _ahead_of_monotonic()
        seconds = before - self._ahead
        return seconds if seconds > SET_BACK_SECONDS_MIN else 0.0


def _ahead_of_monotonic() -> float:
    return time.time() - time.monotonic()
