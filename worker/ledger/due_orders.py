"""When to look in the tables for facts that come from no record: time has passed, connectors were named."""

from collections.abc import Collection

from worker import telemetry
from worker.ledger.cycle import LedgerCycle
from worker.ledger.tally import Tally
from worker.stream.faults import Remedy, remedy

LOOK_MS = 1_000  # how often the tables are asked whether a deadline has come
TIMED_ORDERS_MAX = 500
# An order waits for what our connectors file does not name, or another worker's did not.
NAMED_LOOK_MS = 10_000
# How long an order is left alone if the database refuses what time has brought for it.
QUARANTINE_MS = 600_000
REFUSED = "refused_by_database"


class DueOrders:
    """Remembers between cycles where to look next, and where not to."""

    def __init__(self) -> None:
        self.next_look_ms = 0
        self._next_named_look_ms = 0
        self._quarantine: dict[str, int] = {}

    def look_at_once(self) -> None:
        """Makes the next cycle look, whatever was known."""
        self.next_look_ms = self._next_named_look_ms = 0

    async def decide_due(self, work: LedgerCycle) -> None:
        """Decides these facts in a savepoint: an order that the database refuses must not take others along."""
        due = await self._due(work)
        if due and await _try(work, due) is not None:
            for order_id in due:
                if (problem := await _try(work, {order_id})) is not None:
                    self._leave_alone(order_id, work.cycle.now_ms, problem)

    async def _due(self, work: LedgerCycle) -> set[str]:
        """Orders for which something has happened that comes from no record."""
        now_ms, tables, tally = work.cycle.now_ms, work.tables, work.tally
        self._quarantine = {one: until for one, until in self._quarantine.items() if until > now_ms}
        due = await tables.due_orders(TIMED_ORDERS_MAX, self._quarantine)
        awaiting: list[str] = []
        if now_ms >= self._next_named_look_ms:  # any number of orders may wait for connectors: not in each look
            tally.named_look_ms = now_ms + NAMED_LOOK_MS
            awaiting = await tables.named_orders(work.connectors.names, TIMED_ORDERS_MAX, self._quarantine)
            if len(awaiting) == TIMED_ORDERS_MAX:
                tally.named_look_ms = now_ms
        if max(len(due), len(awaiting)) == TIMED_ORDERS_MAX:
            tally.look_at_ms = now_ms
        else:
            next_ms = await tables.next_wake_ms()
            tally.look_at_ms = min(now_ms + LOOK_MS, next_ms if next_ms is not None else 1 << 60)
        return {*due, *awaiting}

    def _leave_alone(self, order_id: str, now_ms: int, problem: Exception) -> None:
        """The database refuses what follows from time for this order: others must not wait for it."""
        self._quarantine[order_id] = now_ms + QUARANTINE_MS
        telemetry.alert(REFUSED, order_id=order_id)
        telemetry.log.error(
            "the database refuses what follows from time for an order; the order is left alone for a while",
            order_id=order_id, seconds=QUARANTINE_MS // 1_000, problem=str(problem),
        )  # fmt: skip

    def committed(self, tally: Tally) -> None:
        """What the cycle found out about the next look is durable now."""
        if tally.look_at_ms is not None:
            self.next_look_ms = tally.look_at_ms
        if tally.named_look_ms is not None:
            self._next_named_look_ms = tally.named_look_ms


async def _try(work: LedgerCycle, orders: Collection[str]) -> Exception | None:
    """Returns why the database refused, if it did; then nothing of it was done."""
    cycle = work.cycle
    before = cycle.savepoint()
    await cycle.connection.execute("SAVEPOINT timed")  # the transaction itself is the stream's
    try:
        await work.decide_timed(orders)
    except Exception as problem:
        if remedy(problem) is not Remedy.SPLIT:
            raise
        await cycle.connection.execute("ROLLBACK TO SAVEPOINT timed")
        cycle.rollback_to(before)  # nothing waited to be written before: these are a cycle's first decisions
        return problem
    await cycle.connection.execute("RELEASE SAVEPOINT timed")
    return None
