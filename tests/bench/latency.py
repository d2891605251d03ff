"""From an invoice that the ERP writes to the request its connector receives, at a tenth of what both workers do."""

import asyncio
import time

from msgspec import Struct

from tests.bench import load, page
from tests.bench.deployment import PARTITIONS, Deployment, deployment
from tests.bench.ledger import opened
from tests.bench.sending import book, connector
from worker.kafka import names
from worker.stack import StackEnv

BACKLOG = 5_000
SHARE = 10
WARM_SECONDS = 3


class Found(Struct):
    """The highest rate that was seen, the one that was measured at, and how long each invoice took, sorted."""

    most: float
    per_second: int
    waits_ms: list[float]


async def run(stack: StackEnv, seconds: int) -> Found:
    async with deployment(stack) as here:
        most = await _most(here)
    per_second = max(1, round(most / SHARE))
    async with deployment(stack) as here:
        return Found(most, per_second, await _waits(here, per_second, seconds))


async def _most(here: Deployment) -> float:
    """Captures per second while both workers take a backlog of invoices on the same cores."""
    connector(here, "acme", "--latency-ms", "20")
    ids = await opened(here, BACKLOG)
    await here.send(load.invoices(ids, [0], PARTITIONS))
    here.start("worker", "ledger")
    here.start("worker", "delivery")
    return await here.until_written(names.OUTCOMES, len(ids))


async def _waits(here: Deployment, per_second: int, seconds: int) -> list[float]:
    """One invoice of an order of its own at a time."""
    url = connector(here, "acme", "--latency-ms", "20")
    ids = await opened(here, per_second * (seconds + WARM_SECONDS))
    here.start("worker", "ledger")
    here.start("worker", "delivery")
    written_ms: dict[str, float] = {}
    began = time.monotonic()
    for number, invoice in enumerate(load.invoices(ids, [0], PARTITIONS)):
        await asyncio.sleep(max(0.0, began + number / per_second - time.monotonic()))
        written_ms[f"{ids[number]}-card"] = time.time_ns() / 1e6
        await here.send([invoice])
    await here.until_written(names.OUTCOMES, len(ids))
    heard_ms = {one["paymentId"]: one["atMs"] for one in reversed(book(url)["requests"])}
    steady = list(written_ms)[WARM_SECONDS * per_second :]
    return sorted(heard_ms[payment] - written_ms[payment] for payment in steady)


def section(found: Found) -> page.Section:
    waits_ms = found.waits_ms
    p50, p99 = waits_ms[len(waits_ms) // 2], waits_ms[len(waits_ms) * 99 // 100]
    text = (
        f"Both workers together bring {found.most:,.0f} invoices/s of a backlog to their captures. At a tenth of it, "
        f"{found.per_second} invoices/s, over {len(waits_ms):,} of them: **p50 {p50:.0f} ms, p99 {p99:.0f} ms**, "
        f"at most {waits_ms[-1]:.0f} ms."
    )
    return page.Section("latency", text, "make bench-latency")
