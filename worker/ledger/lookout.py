"""When the tables are looked at for what no record brings: time has passed, connectors were named."""

from worker import telemetry
from worker.ledger.book import Book
from worker.ledger.tally import Tally
from worker.stream.cycle import Cycle

LOOK_MS = 1_000  # how often the tables are asked whether time has become a fact
TIMED_ORDERS_MAX = 500
# An order waits for what our connectors file does not name, or another worker's did not.
NAMED_LOOK_MS = 10_000
# How long an order is left alone whose own facts the database refuses.
QUARANTINE_MS = 600_000
REFUSED = "refused_by_database"


class Lookout:
    """Remembers between cycles where to look next, and where not to."""

    def __init__(self) -> None:
        self.at_ms = 0
        self._named_at_ms = 0
        self._quarantine: dict[str, int] = {}

    def at_once(self) -> None:
        """The next cycle looks, whatever was known."""
        self.at_ms = self._named_at_ms = 0

    async def due(self, cycle: Cycle, book: Book, named: list[str], tally: Tally) -> set[str]:
        """Orders for which something has happened that no record brings."""
        self._quarantine = {one: until for one, until in self._quarantine.items() if until > cycle.now_ms}
        due = await book.due_orders(TIMED_ORDERS_MAX, self._quarantine)
        awaiting: list[str] = []
        if cycle.now_ms >= self._named_at_ms:  # any number may wait for what no file names: not in each look
            tally.named_look_ms = cycle.now_ms + NAMED_LOOK_MS
            awaiting = await book.named_orders(named, TIMED_ORDERS_MAX, self._quarantine)
            if len(awaiting) == TIMED_ORDERS_MAX:
                tally.named_look_ms = cycle.now_ms
        if max(len(due), len(awaiting)) == TIMED_ORDERS_MAX:
            tally.look_at_ms = cycle.now_ms
        else:
            next_ms = await book.next_wake_ms()
            tally.look_at_ms = min(cycle.now_ms + LOOK_MS, next_ms if next_ms is not None else 1 << 60)
        return {*due, *awaiting}

    def leave_alone(self, order_id: str, cycle: Cycle, problem: Exception) -> None:
        """The database refuses what time makes of this order: others must not wait for it."""
        self._quarantine[order_id] = cycle.now_ms + QUARANTINE_MS
        telemetry.alert(REFUSED, order_id=order_id)
        telemetry.log.error(
            "the database refuses what time makes of an order; it is left alone for a while",
            order_id=order_id, seconds=QUARANTINE_MS // 1_000, problem=str(problem),
        )  # fmt: skip

    def committed(self, tally: Tally) -> None:
        """What the cycle found out about the next look is durable."""
        if tally.look_at_ms is not None:
            self.at_ms = tally.look_at_ms
        if tally.named_look_ms is not None:
            self._named_at_ms = tally.named_look_ms
