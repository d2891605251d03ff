"""Throughput of a ledger with millions of entries, compared with an empty one, in alternating rounds."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg

from tests.bench import load, page
from tests.bench.deployment import PARTITIONS, Deployment, fresh_deployment
from tests.bench.ledger import PARCELS, opened
from tests.bench.rounds import Figure, alternate
from worker.kafka import names
from worker.stack import StackEnv

STATEMENTS = Path(__file__).with_name("growth.sql").read_text().split("-- name: ")[1:]
FILL_SECONDS_MAX = 3_600.0


async def run(stack: StackEnv, rounds: int, orders: int, entries: int) -> tuple[int, dict[str, Figure]]:
    """The number of entries in the full ledger, and the invoices per second of the empty and of the full one."""
    async with AsyncExitStack() as exit_stack:
        empty, full = [await exit_stack.enter_async_context(fresh_deployment(stack)) for _ in range(2)]
        held = await _fill(full, entries)
        print(f"  {held:,} entries", flush=True)
        contenders = {"empty": _settling(empty, orders), f"{held:,} entries": _settling(full, orders)}
        return held, await alternate(contenders, rounds)


async def _fill(deployment: Deployment, entries: int) -> int:
    """Lets the worker settle one order, and copies it until there are this many entries."""
    (order_id,) = await opened(deployment, 1, "filled")
    answering, worker = deployment.start("tests.bench.contenders.answering"), deployment.start("worker", "ledger")
    await deployment.send(load.invoices([order_id], range(PARCELS), PARTITIONS))
    await deployment.until_consumed(names.OUTCOMES, PARCELS)
    await deployment.stop(worker)
    deployment.kill(answering)
    entries_per_order = await deployment.database.fetchval("SELECT count(*) FROM ledger.entries")
    await copy_order(deployment.database, order_id, entries // entries_per_order)
    await deployment.database.execute("CHECKPOINT", timeout=FILL_SECONDS_MAX)
    return await deployment.database.fetchval("SELECT count(*) FROM ledger.entries", timeout=FILL_SECONDS_MAX)


async def copy_order(database: asyncpg.Connection, order_id: str, copies: int) -> None:
    """Copies an order in every table that grows, and updates the statistics of the planner."""
    values = {"$1": f"'{order_id}'", "$2": str(copies), "$3": str(PARTITIONS)}
    for statement in STATEMENTS:
        query = statement.partition("\n")[2]
        for place, value in values.items():
            query = query.replace(place, value)
        await database.execute(query, timeout=FILL_SECONDS_MAX)
    await database.execute("VACUUM ANALYZE", timeout=FILL_SECONDS_MAX)


def _settling(deployment: Deployment, orders: int) -> Callable[[int], Awaitable[float]]:
    async def settle(number: int) -> float:
        ids = await opened(deployment, orders, f"round{number}")
        before = await deployment.written(names.COMMANDS)
        sent = await deployment.send(load.invoices(ids, range(PARCELS), PARTITIONS))
        worker = deployment.start("worker", "ledger")
        rate = await deployment.until_written(names.COMMANDS, before + sent)
        await deployment.stop(worker)
        return rate

    return settle


def section(held: int, figures: dict[str, Figure]) -> page.Section:
    empty, full = figures.values()
    ratio = full.ratio_to(empty)
    rows = [(name, *(f"{value:,.0f}" for value in (figure.median, figure.low, figure.high)))
            for name, figure in figures.items()]  # fmt: skip
    text = (
        f"{page.table(('ledger', 'invoices/s', 'min', 'max'), rows)}\n\n"
        f"With {held:,} entries it reaches **{ratio.median:.2f}** ({ratio.low:.2f}–{ratio.high:.2f}) of an empty one."
    )
    return page.Section("growth", text, "make bench-growth")
