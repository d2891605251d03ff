"""A connector that hangs, beside one that is well: how long the commands of the one that is well take."""

import asyncio
import time
from functools import partial

from tests.bench import page
from tests.bench.deployment import STALLED_SECONDS, deployment
from tests.bench.rounds import Figure, alternate
from tests.bench.sending import book, commands, connector, misbehave
from tests.until import until
from worker.kafka import names
from worker.stack import StackEnv

PER_SECOND = 50  # for each of the two
SECONDS = 12
WARM_SECONDS = 2


class Bulkhead:
    """The 99th percentile, in milliseconds, from command published to request received."""

    def __init__(self, stack: StackEnv) -> None:
        self._stack = stack

    async def p99_ms(self, neighbour: str, _: int) -> float:
        async with deployment(self._stack) as here:
            url = connector(here, "acme", "--latency-ms", "20", timeout_seconds=5)
            other = connector(here, "other", "--latency-ms", "20", timeout_seconds=5, max_in_flight=64)
            misbehave(other, neighbour, 3600)
            here.start("worker", "delivery")
            await here.send(commands(0, 1))
            await here.until_written(names.OUTCOMES, 1)
            published_ms: dict[str, float] = {}
            began = time.monotonic()
            for number in range(1, PER_SECOND * SECONDS + 1):
                await asyncio.sleep(max(0.0, began + number / PER_SECOND - time.monotonic()))
                published_ms[f"order-{number:07}-card"] = time.time_ns() / 1e6
                await here.send([*commands(number, 1), *commands(1_000_000 + number, 1, "other")])
            await until(lambda: len(book(url)["effects"]) > len(published_ms), STALLED_SECONDS, look_seconds=0.1)
            heard_ms = {one["paymentId"]: one["atMs"] for one in reversed(book(url)["requests"])}
            steady = list(published_ms)[WARM_SECONDS * PER_SECOND :]
            waits = sorted(heard_ms[payment] - published_ms[payment] for payment in steady)
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
