"""Throughput of the ledger worker: ours, the ceiling and the plain version in turn, and the full circle."""

from tests.bench import load, page, picture
from tests.bench.deployment import PARTITIONS, Deployment, deployment
from tests.bench.played import events_of_an_order
from tests.bench.rounds import Figure, alternate
from worker.kafka import names
from worker.stack import StackEnv

PARCELS = 3
SAME_ROWS = "ceiling that writes our rows"
PLAIN_SHARE = 10  # the plain version gets so much less to do, and takes longer for it


class Ledger:
    """Each method is one contender: invoices per second in one round, from a backlog."""

    def __init__(self, stack: StackEnv, orders: int) -> None:
        self._stack = stack
        self._orders = orders

    async def ours(self, number: int) -> float:
        async with deployment(self._stack) as here:
            ids = await opened(here, self._orders)
            sent = await here.send(load.invoices(ids, range(PARCELS), PARTITIONS))
            here.start("worker", "ledger")
            return await here.until_written(names.COMMANDS, sent)

    async def circle(self, number: int) -> float:
        """Every command is answered at once, by a process of its own; counted when the last event is told."""
        async with deployment(self._stack) as here:
            ids = await opened(here, self._orders)
            await here.send(load.invoices(ids, range(PARCELS), PARTITIONS))
            before, told = events_of_an_order(PARCELS, 0), events_of_an_order(PARCELS, PARCELS)
            here.start("tests.bench.contenders.answering")
            here.start("worker", "ledger")
            rate = await here.until_written(names.EVENTS, len(ids) * told)
            return rate * PARCELS / (told - before)

    async def ceiling(self, number: int) -> float:
        """Writes the records' bytes."""
        return await self._ceiling()

    async def ceiling_of_rows(self, number: int) -> float:
        """Writes as many rows of the same sizes as ours."""
        return await self._ceiling("rows")

    async def _ceiling(self, *written: str) -> float:
        async with deployment(self._stack) as here:
            ids = load.order_ids("order", self._orders)
            sent = await here.send(load.invoices(ids, range(PARCELS), PARTITIONS))
            here.start("tests.bench.contenders.ceiling", *written)
            return await here.until_written(names.COMMANDS, sent)

    async def plain(self, number: int) -> float:
        async with deployment(self._stack) as here:
            ids = load.order_ids("order", self._orders // PLAIN_SHARE)
            await here.send(load.orders(ids, PARCELS, PARTITIONS))
            here.start("tests.bench.contenders.plain")
            await here.until_written(names.ORDERS, len(ids))
            sent = await here.send(load.invoices(ids, range(PARCELS), PARTITIONS))
            return await here.until_written(names.COMMANDS, sent)


async def opened(here: Deployment, number: int, name: str = "order") -> list[str]:
    """So many orders, authorized and at rest; the worker that opened them has ended."""
    ids = load.order_ids(name, number)
    told = await here.written(names.EVENTS)
    await here.send(load.orders(ids, PARCELS, PARTITIONS))
    worker = here.start("worker", "ledger")
    await here.until_written(names.EVENTS, told + number * events_of_an_order(PARCELS, 0))
    await here.stop(worker)
    return ids


async def run(stack: StackEnv, rounds: int, orders: int) -> dict[str, Figure]:
    """The contenders and the circle, in turn."""
    ledger = Ledger(stack, orders)
    contenders = {
        "ours": ledger.ours, "ceiling": ledger.ceiling, SAME_ROWS: ledger.ceiling_of_rows,
        "plain version": ledger.plain, "ours, full circle": ledger.circle,
    }  # fmt: skip
    return await alternate(contenders, rounds)


def section(figures: dict[str, Figure]) -> page.Section:
    ours = figures["ours"]
    ceiling, same_rows, plain = (ours.ratio_to(figures[name]) for name in ("ceiling", SAME_ROWS, "plain version"))
    rows = [(name, *(f"{value:,.0f}" for value in (one.median, one.low, one.high))) for name, one in figures.items()]
    text = (
        f"{page.table(('invoices/s', 'median', 'min', 'max'), rows)}\n\n"
        f"Ours is **{ceiling.median:.2f}** of the ceiling ({ceiling.low:.2f}–{ceiling.high:.2f}), "
        f"**{same_rows.median:.2f}** of one that writes as many rows of the same sizes as ours "
        f"({same_rows.low:.2f}–{same_rows.high:.2f}), and "
        f"**{plain.median:.1f} times** the plain version ({plain.low:.1f}–{plain.high:.1f}), round by round."
    )
    shown = picture.bars("Invoices per second, one process", "median, min–max", figures, "ours")
    return page.Section("ledger", text, "make bench-ledger", {"ledger": shown})
