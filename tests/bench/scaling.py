"""One, two and four workers on the same topics: each owns its share of the partitions."""

from functools import partial

from tests.bench import load, page
from tests.bench.deployment import PARTITIONS, deployment
from tests.bench.ledger import PARCELS, opened
from tests.bench.rounds import Figure, alternate
from worker.kafka import names
from worker.stack import StackEnv

WORKERS = (1, 2, 4)


async def run(stack: StackEnv, rounds: int, orders: int) -> dict[str, Figure]:
    return await alternate({f"{count}": partial(_with, stack, count, orders) for count in WORKERS}, rounds)


async def _with(stack: StackEnv, workers: int, orders: int, number: int) -> float:
    """The rate begins to count once each worker owns its share."""
    async with deployment(stack) as here:
        ids = await opened(here, orders)
        for _ in range(workers):
            here.start("worker", "ledger")
        await here.until_shared(workers)
        sent = await here.send(load.invoices(ids, range(PARCELS), PARTITIONS))
        return await here.until_written(names.COMMANDS, sent)


def section(figures: dict[str, Figure]) -> page.Section:
    alone = figures["1"]
    rows = [(workers, one, f"{one.ratio_to(alone).median:.2f}") for workers, one in figures.items()]
    return page.Section("scaling", page.table(("workers", "invoices/s", "to one worker"), rows), "make bench-scaling")
