"""Throughput of the ledger worker, compared with an upper bound (ceiling) and a naive (plain) version."""

from tests.bench import load, page, picture
from tests.bench.deployment import PARTITIONS, Deployment, fresh_deployment
from tests.bench.expected import events_of_an_order
from tests.bench.rounds import Figure, alternate
from worker.kafka import names
from worker.stack import StackEnv

PARCELS = 3
SAME_ROWS = "ceiling that writes our rows"
PLAIN_SHARE = 10  # the plain version gets a tenth of the orders, and still takes longer


class Ledger:
    """Each method is one contender; it returns the invoices per second of one round, from a backlog."""

    def __init__(self, stack: StackEnv, orders: int) -> None:
        self._stack = stack
        self._orders = orders

    async def ours(self, number: int) -> float:
        async with fresh_deployment(self._stack) as deployment:
            ids = await opened(deployment, self._orders)
            sent = await deployment.send(load.invoices(ids, range(PARCELS), PARTITIONS))
            deployment.start("worker", "ledger")
            return await deployment.until_written(names.COMMANDS, sent)

    async def circle(self, number: int) -> float:
        """Another process answers every command at once; the round ends with the last event."""
        async with fresh_deployment(self._stack) as deployment:
            ids = await opened(deployment, self._orders)
            await deployment.send(load.invoices(ids, range(PARCELS), PARTITIONS))
            events_before, events_after = events_of_an_order(PARCELS, 0), events_of_an_order(PARCELS, PARCELS)
            deployment.start("tests.bench.contenders.answering")
            deployment.start("worker", "ledger")
            rate = await deployment.until_written(names.EVENTS, len(ids) * events_after)
            return rate * PARCELS / (events_after - events_before)

    async def ceiling(self, number: int) -> float:
        """Writes the records' bytes."""
        return await self._ceiling()

    async def ceiling_of_rows(self, number: int) -> float:
        """Writes as many rows of the same sizes as ours."""
        return await self._ceiling("rows")

    async def _ceiling(self, *written: str) -> float:
        async with fresh_deployment(self._stack) as deployment:
            ids = load.order_ids("order", self._orders)
            sent = await deployment.send(load.invoices(ids, range(PARCELS), PARTITIONS))
            deployment.start("tests.bench.contenders.ceiling", *written)
            return await deployment.until_written(names.COMMANDS, sent)

    async def plain(self, number: int) -> float:
        async with fresh_deployment(self._stack) as deployment:
            ids = load.order_ids("order", self._orders // PLAIN_SHARE)
            await deployment.send(load.orders(ids, PARCELS, PARTITIONS))
            deployment.start("tests.bench.contenders.plain")
            await deployment.until_written(names.ORDERS, len(ids))
            sent = await deployment.send(load.invoices(ids, range(PARCELS), PARTITIONS))
            return await deployment.until_written(names.COMMANDS, sent)


async def opened(deployment: Deployment, number: int, name: str = "order") -> list[str]:
    """Opens orders with a worker, and stops it when all their events are published; returns their ids."""
    ids = load.order_ids(name, number)
    written = await deployment.written(names.EVENTS)
    await deployment.send(load.orders(ids, PARCELS, PARTITIONS))
    worker = deployment.start("worker", "ledger")
    await deployment.until_written(names.EVENTS, written + number * events_of_an_order(PARCELS, 0))
    await deployment.stop(worker)
    return ids


async def run(stack: StackEnv, rounds: int, orders: int) -> dict[str, Figure]:
    """Runs the contenders in alternating rounds."""
    ledger = Ledger(stack, orders)
    contenders = {
        "ours": ledger.ours, "ceiling": ledger.ceiling, SAME_ROWS: ledger.ceiling_of_rows,
        "plain version": ledger.plain, "ours, full circle": ledger.circle,
    }  # fmt: skip
    return await alternate(contenders, rounds)


def section(figures: dict[str, Figure]) -> page.Section:
    ours = figures["ours"]
    ceiling, same_rows, plain = (ours.ratio_to(figures[name]) for name in ("ceiling", SAME_ROWS, "plain version"))
    rows = [
        (name, *(f"{value:,.0f}" for value in (figure.median, figure.low, figure.high)))
        for name, figure in figures.items()
    ]
    text = (
        f"{page.table(('invoices/s', 'median', 'min', 'max'), rows)}\n\n"
        f"Ours is **{ceiling.median:.2f}** of the ceiling ({ceiling.low:.2f}–{ceiling.high:.2f}), "
        f"**{same_rows.median:.2f}** of one that writes as many rows of the same sizes as ours "
        f"({same_rows.low:.2f}–{same_rows.high:.2f}), and "
        f"**{plain.median:.1f} times** the plain version ({plain.low:.1f}–{plain.high:.1f}), round by round."
    )
    shown = picture.bars("Invoices per second, one process", "median, min–max", figures, "ours")
    return page.Section("ledger", text, "make bench-ledger", {"ledger": shown})
