"""How many records one cycle may bring, learned from how long the last ones took."""

RECORDS_MAX = 2_000
RECORDS_FIRST = 250
QUICK_SECONDS = 0.5
# Far below the time after which the database ends a session that does nothing in its transaction.
SLOW_SECONDS = 2.0


class Pace:
    """Doubles while cycles are quick, halves when one was slow or was lost with its session.

    So a worker that is starved of processor or database gets through, instead of trying one large batch for ever.
    """

    def __init__(self) -> None:
        self.records_max = RECORDS_FIRST

    def took(self, seconds: float) -> None:
        """A cycle is over."""
        if seconds > SLOW_SECONDS:
            self.lost()
        elif seconds < QUICK_SECONDS:
            self.records_max = min(2 * self.records_max, RECORDS_MAX)

    def lost(self) -> None:
        """A session ended, perhaps because a cycle took too long."""
        self.records_max = max(1, self.records_max // 2)
