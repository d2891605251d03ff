"""From an invoice that the ERP writes to the request its connector receives, at a tenth of what both workers do."""

import asyncio
import time

from msgspec import Struct

from tests.bench import load, page
from tests.bench.deployment import PARTITIONS, Deployment, deployment
from tests.bench.ledger import opened
from tests.bench.rounds import Figure
from tests.bench.sending import book, connector
from worker.kafka import names
from worker.stack import StackEnv

BACKLOG = 5_000
SHARE = 10
WARM_SECONDS = 3


class Found(Struct):
    """The highest rates that were seen, those that were measured at, and how long invoices took, round by round."""

    most: Figure
    per_second: Figure
    p50: Figure
    p99: Figure


async def run(stack: StackEnv, rounds: int, seconds: int) -> Found:
    found = Found(Figure(), Figure(), Figure(), Figure())
    for number in range(rounds):
        async with deployment(stack) as here:
            most = await _most(here)
        per_second = max(1, round(most / SHARE))
        async with deployment(stack) as here:
            waits_ms = await _waits(here, per_second, seconds)
        p50, p99 = waits_ms[len(waits_ms) // 2], waits_ms[len(waits_ms) * 99 // 100]
        for figure, value in ((found.most, most), (found.per_second, per_second), (found.p50, p50), (found.p99, p99)):
            figure.values.append(value)
        print(f"  round {number + 1}: at {per_second} invoices/s p50 {p50:.0f} ms, p99 {p99:.0f} ms", flush=True)
    return found


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
    text = (
        f"Both workers together bring {found.most} invoices/s of a backlog to their captures. At a tenth of it, "
        f"{found.per_second} invoices/s: **p50 {found.p50} ms, p99 {found.p99} ms**; median (minimum–maximum) of "
        f"{len(found.p50.values)} rounds."
    )
    return page.Section("latency", text, "make bench-latency")
