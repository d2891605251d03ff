"""How long commands to a healthy connector take while another connector hangs."""

import asyncio
import time
from functools import partial

from tests.bench import page
from tests.bench.deployment import STALLED_SECONDS, fresh_deployment
from tests.bench.rounds import Figure, alternate
from tests.bench.sending import book, commands, connector, plan_fault
from tests.until import until
from worker.kafka import names
from worker.stack import StackEnv

PER_SECOND = 50  # for each of the two
SECONDS = 12
WARM_SECONDS = 2


class Bulkhead:
    """The contenders: a healthy connector beside a healthy one, or beside one that hangs."""

    def __init__(self, stack: StackEnv) -> None:
        self._stack = stack

    async def p99_ms(self, neighbours_fault: str, _: int) -> float:
        """The 99th percentile of the time from command published to request received."""
        async with fresh_deployment(self._stack) as deployment:
            url = connector(deployment, "acme", "--latency-ms", "20", timeout_seconds=5)
            other = connector(deployment, "other", "--latency-ms", "20", timeout_seconds=5, max_in_flight=64)
            plan_fault(other, neighbours_fault, 3600)
            deployment.start("worker", "delivery")
            await deployment.send(commands(0, 1))
            await deployment.until_written(names.OUTCOMES, 1)
            published_ms: dict[str, float] = {}
            started = time.monotonic()
            for number in range(1, PER_SECOND * SECONDS + 1):
                await asyncio.sleep(max(0.0, started + number / PER_SECOND - time.monotonic()))
                published_ms[f"order-{number:07}-card"] = time.time_ns() / 1e6
                await deployment.send([*commands(number, 1), *commands(1_000_000 + number, 1, "other")])
            await until(lambda: len(book(url)["effects"]) > len(published_ms), STALLED_SECONDS, look_seconds=0.1)
            received_ms = {request["paymentId"]: request["atMs"] for request in reversed(book(url)["requests"])}
            steady = list(published_ms)[WARM_SECONDS * PER_SECOND :]
            waits = sorted(received_ms[payment] - published_ms[payment] for payment in steady)
            return waits[len(waits) * 99 // 100]


async def run(stack: StackEnv, rounds: int) -> dict[str, Figure]:
    bulkhead = Bulkhead(stack)
    return await alternate({
        "beside one that is well": partial(bulkhead.p99_ms, "ok"),
        "beside one that hangs": partial(bulkhead.p99_ms, "silence"),
    }, rounds)  # fmt: skip


def section(figures: dict[str, Figure]) -> page.Section:
    well, hangs = figures.values()
    ratio = hangs.ratio_to(well)
    rows = list(figures.items())
    head = ("p99 from command published to request received, ms", f"{PER_SECOND} commands/s for each")
    text = (
        f"{page.table(head, rows)}\n\nBeside one that hangs it is **{ratio.median:.2f}** of what it is "
        f"beside one that is well ({ratio.low:.2f}–{ratio.high:.2f}, round by round)."
    )
    return page.Section("bulkhead", text, "make bench-bulkhead")
