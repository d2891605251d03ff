"""From an invoice that the ERP writes to the request that its connector receives, at a tenth of the maximum load."""

import asyncio
import time

from tests.bench import load, page
from tests.bench.deployment import PARTITIONS, deployment
from tests.bench.ledger import opened
from tests.bench.sending import book, connector
from worker.kafka import names
from worker.stack import StackEnv

PER_SECOND = 100
WARM_SECONDS = 3


async def run(stack: StackEnv, seconds: int) -> list[float]:
    """Milliseconds, sorted; one invoice of an order of its own at a time."""
    async with deployment(stack) as here:
        url = connector(here, "acme", "--latency-ms", "20")
        ids = await opened(here, PER_SECOND * (seconds + WARM_SECONDS))
        here.start("worker", "ledger")
        here.start("worker", "delivery")
        written_ms: dict[str, float] = {}
        began = time.monotonic()
        for number, invoice in enumerate(load.invoices(ids, [0], PARTITIONS)):
            await asyncio.sleep(max(0.0, began + number / PER_SECOND - time.monotonic()))
            written_ms[f"{ids[number]}-card"] = time.time_ns() / 1e6
            await here.send([invoice])
        await here.until_written(names.OUTCOMES, len(ids))
        heard_ms = {one["paymentId"]: one["atMs"] for one in reversed(book(url)["requests"])}
        steady = list(written_ms)[WARM_SECONDS * PER_SECOND :]
        return sorted(heard_ms[payment] - written_ms[payment] for payment in steady)


def section(waits_ms: list[float]) -> page.Section:
    p50, p99 = waits_ms[len(waits_ms) // 2], waits_ms[len(waits_ms) * 99 // 100]
    text = (
        f"At {PER_SECOND} invoices/s, over {len(waits_ms):,} of them: **p50 {p50:.0f} ms, p99 {p99:.0f} ms**, "
        f"at most {waits_ms[-1]:.0f} ms."
    )
    return page.Section("latency", text, "make bench-latency")
