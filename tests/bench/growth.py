"""Throughput on a ledger that holds millions of entries, in turn with one that is empty."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg

from tests.bench import load, page
from tests.bench.deployment import PARTITIONS, Deployment, deployment
from tests.bench.ledger import PARCELS, opened
from tests.bench.rounds import Figure, alternate
from worker.kafka import names
from worker.stack import StackEnv

STATEMENTS = Path(__file__).with_name("growth.sql").read_text().split("-- name: ")[1:]
FILL_SECONDS_MAX = 3_600.0


async def run(stack: StackEnv, rounds: int, orders: int, entries: int) -> tuple[int, dict[str, Figure]]:
    """How many entries there were, and invoices per second without and with them."""
    async with AsyncExitStack() as all_of_them:
        empty, full = [await all_of_them.enter_async_context(deployment(stack)) for _ in range(2)]
        held = await _fill(full, entries)
        print(f"  {held:,} entries", flush=True)
        contenders = {"empty": _settling(empty, orders), f"{held:,} entries": _settling(full, orders)}
        return held, await alternate(contenders, rounds)


async def _fill(here: Deployment, entries: int) -> int:
    """One order is settled by the worker itself, and copied until there are so many entries."""
    (order_id,) = await opened(here, 1, "filled")
    answering, worker = here.start("tests.bench.contenders.answering"), here.start("worker", "ledger")
    await here.send(load.invoices([order_id], range(PARCELS), PARTITIONS))
    await here.until_consumed(names.OUTCOMES, PARCELS)
    await here.stop(worker)
    here.kill(answering)
    each = await here.database.fetchval("SELECT count(*) FROM ledger.entries")
    await copy_order(here.database, order_id, entries // each)
    await here.database.execute("CHECKPOINT", timeout=FILL_SECONDS_MAX)
    return await here.database.fetchval("SELECT count(*) FROM ledger.entries", timeout=FILL_SECONDS_MAX)


async def copy_order(database: asyncpg.Connection, order_id: str, copies: int) -> None:
    """So many more orders like this one, in every table that grows; the planner knows of them."""
    values = {"$1": f"'{order_id}'", "$2": str(copies), "$3": str(PARTITIONS)}
    for statement in STATEMENTS:
        query = statement.partition("\n")[2]
        for place, value in values.items():
            query = query.replace(place, value)
        await database.execute(query, timeout=FILL_SECONDS_MAX)
    await database.execute("VACUUM ANALYZE", timeout=FILL_SECONDS_MAX)


def _settling(here: Deployment, orders: int) -> Callable[[int], Awaitable[float]]:
    async def settle(number: int) -> float:
        ids = await opened(here, orders, f"round{number}")
        before = await here.written(names.COMMANDS)
        sent = await here.send(load.invoices(ids, range(PARCELS), PARTITIONS))
        worker = here.start("worker", "ledger")
        rate = await here.until_written(names.COMMANDS, before + sent)
        await here.stop(worker)
        return rate

    return settle


def section(held: int, figures: dict[str, Figure]) -> page.Section:
    empty, full = figures.values()
    ratio = full.ratio_to(empty)
    rows = [(name, *(f"{value:,.0f}" for value in (one.median, one.low, one.high))) for name, one in figures.items()]
    text = (
        f"{page.table(('ledger', 'invoices/s', 'min', 'max'), rows)}\n\n"
        f"With {held:,} entries it reaches **{ratio.median:.2f}** ({ratio.low:.2f}–{ratio.high:.2f}) of an empty one."
    )
    return page.Section("growth", text, "make bench-growth")
