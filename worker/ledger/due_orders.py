"""Finds and decides orders that are due without a record: a deadline has come, or the file names their connector."""

from collections.abc import Collection, Mapping
from itertools import accumulate

from worker import telemetry
from worker.ledger.cycle import LedgerCycle
from worker.ledger.tally import Tally
from worker.stream.faults import CycleTooLargeError, Remedy, remedy

LOOK_MS = 1_000  # how often the tables are searched for deadlines that have come
# Of each kind, what one cycle decides at most: it reads, decides and publishes all of it at once.
DUE_ORDERS_MAX = 500
DUE_BYTES_MAX = 8 << 20
# Not only after a reload: an order may wait because another worker's file did not name its connector.
NAMED_LOOK_MS = 10_000
# How long an order is left alone if the database refuses what a deadline causes, or if our code fails on it.
QUARANTINE_MS = 600_000
REFUSED = "refused_by_database"


class DueOrders:
    """Remembers between cycles when to look next, and which orders to leave alone."""

    def __init__(self) -> None:
        self.next_look_ms = 0
        self._next_named_look_ms = 0
        self._quarantine: dict[str, int] = {}

    def look_at_once(self) -> None:
        """Makes the next cycle look."""
        self.next_look_ms = self._next_named_look_ms = 0

    async def decide_due(self, work: LedgerCycle) -> None:
        """Decides the due orders in a savepoint; if the database refuses, one by one, so that only one is left out."""
        due = await self._due(work)
        if due and await _try(work, due) is not None:
            for order_id in due:
                if (problem := await _try(work, {order_id})) is not None:
                    self._leave_alone(order_id, work.cycle.now_ms, problem)
        self._quarantine |= dict.fromkeys(work.tally.undecidable, work.cycle.now_ms + QUARANTINE_MS)

    async def _due(self, work: LedgerCycle) -> set[str]:
        """The orders that are due without a record; also sets when to look next."""
        now_ms, tables, tally = work.cycle.now_ms, work.tables, work.tally
        self._quarantine = {one: until for one, until in self._quarantine.items() if until > now_ms}
        due, more = _first(await tables.due_orders(DUE_ORDERS_MAX, self._quarantine))
        named: list[str] = []
        if now_ms >= self._next_named_look_ms:  # reads all that wait, which may be many: not in each look
            tally.named_look_ms = now_ms + NAMED_LOOK_MS  # before the search: a reload during it takes this back
            waiting = await tables.named_orders(work.connectors.names, DUE_ORDERS_MAX, self._quarantine)
            named, more_named = _first(waiting)
            if more_named:
                tally.named_look_ms, more = now_ms, True
        if more:
            tally.look_at_ms = now_ms
        else:
            next_ms = await tables.next_wake_ms()
            tally.look_at_ms = now_ms + LOOK_MS if next_ms is None else min(now_ms + LOOK_MS, next_ms)
        return {*due, *named}

    def _leave_alone(self, order_id: str, now_ms: int, problem: Exception) -> None:
        """Leaves an order alone that the database refuses, so that others need not wait for it."""
        self._quarantine[order_id] = now_ms + QUARANTINE_MS
        telemetry.alert(REFUSED, order_id=order_id)
        telemetry.log.error(
            "the database refuses what follows from time for an order; the order is left alone for a while",
            order_id=order_id, seconds=QUARANTINE_MS // 1_000, problem=str(problem),
        )  # fmt: skip

    def committed(self, tally: Tally) -> None:
        """Takes over when to look next: the cycle that found it out is committed."""
        if tally.look_at_ms is not None:
            self.next_look_ms = tally.look_at_ms
        if tally.named_look_ms is not None:
            self._next_named_look_ms = tally.named_look_ms


def _first(found: Mapping[str, int]) -> tuple[list[str], bool]:
    """As many of these orders, each with its size, as one cycle decides; and whether there may be more."""
    bytes_before = accumulate(found.values(), initial=0)
    first = [order_id for order_id, before in zip(found, bytes_before, strict=False) if before < DUE_BYTES_MAX]
    return first, len(first) < len(found) or len(found) == DUE_ORDERS_MAX


async def _try(work: LedgerCycle, orders: Collection[str]) -> Exception | None:
    """Decides these orders, or returns why the database refused; then nothing is done."""
    cycle = work.cycle
    before = cycle.savepoint()
    await cycle.connection.execute("SAVEPOINT timed")  # the stream owns the transaction
    try:
        await work.decide_timed(orders)
    except Exception as problem:
        if remedy(problem) is not Remedy.SPLIT or isinstance(problem, CycleTooLargeError):
            raise  # of a batch that is too large, the records are too many
        await cycle.connection.execute("ROLLBACK TO SAVEPOINT timed")
        cycle.rollback_to(before)  # nothing else was pending: these are the cycle's first decisions
        return problem
    await cycle.connection.execute("RELEASE SAVEPOINT timed")
    return None
