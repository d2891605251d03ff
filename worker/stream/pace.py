"""How many records a cycle may have, learned from how long the last cycles took."""

RECORDS_MAX = 2_000
RECORDS_FIRST = 250
QUICK_SECONDS = 0.5
# Far below idle_in_transaction_session_timeout.
SLOW_SECONDS = 2.0


class Pace:
    """Doubles the batch size while cycles are quick, and halves it when a cycle was slow or its session was lost.

    So a worker with little processor time or a slow database gets through, instead of retrying a large batch for ever.
    """

    def __init__(self) -> None:
        self.records_max = RECORDS_FIRST

    def took(self, seconds: float) -> None:
        """Notes how long a cycle took."""
        if seconds > SLOW_SECONDS:
            self.lost()
        elif seconds < QUICK_SECONDS:
            self.records_max = min(2 * self.records_max, RECORDS_MAX)

    def lost(self) -> None:
        """A session was lost, perhaps because a cycle took too long."""
        self.records_max = max(1, self.records_max // 2)
