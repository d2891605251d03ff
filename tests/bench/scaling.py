"""Throughput of one, two and four workers, each of which owns a share of the partitions."""

from functools import partial

from tests.bench import load, page
from tests.bench.deployment import PARTITIONS, fresh_deployment
from tests.bench.ledger import PARCELS, opened
from tests.bench.rounds import Figure, alternate
from worker.kafka import names
from worker.stack import StackEnv

WORKERS = (1, 2, 4)


async def run(stack: StackEnv, rounds: int, orders: int) -> dict[str, Figure]:
    return await alternate({f"{count}": partial(_throughput, stack, count, orders) for count in WORKERS}, rounds)


async def _throughput(stack: StackEnv, workers: int, orders: int, number: int) -> float:
    """Invoices per second, measured once each worker owns its share of the partitions."""
    async with fresh_deployment(stack) as deployment:
        ids = await opened(deployment, orders)
        for _ in range(workers):
            deployment.start("worker", "ledger")
        await deployment.until_shared(workers)
        sent = await deployment.send(load.invoices(ids, range(PARCELS), PARTITIONS))
        return await deployment.until_written(names.COMMANDS, sent)


def section(figures: dict[str, Figure]) -> page.Section:
    alone = figures["1"]
    rows = [(workers, figure, f"{figure.ratio_to(alone).median:.2f}") for workers, figure in figures.items()]
    return page.Section("scaling", page.table(("workers", "invoices/s", "to one worker"), rows), "make bench-scaling")
