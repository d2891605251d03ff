"""Throughput of the delivery worker, compared with a bare loop of the same HTTP client that stores nothing."""

import asyncio
import subprocess
from functools import partial

from tests.bench import page, picture
from tests.bench.deployment import fresh_deployment
from tests.bench.rounds import Figure, alternate
from tests.bench.sending import IN_FLIGHT, commands, connector
from worker.kafka import names
from worker.stack import StackEnv

LATENCIES_MS = (1, 20, 100)


class Delivery:
    """Each method is one contender: commands per second in one round, from a backlog."""

    def __init__(self, stack: StackEnv, number: int) -> None:
        self._stack = stack
        self._number = number

    async def ours(self, latency_ms: int, _: int) -> float:
        async with fresh_deployment(self._stack) as deployment:
            connector(deployment, "acme", "--latency-ms", str(latency_ms))
            await deployment.send(commands(0, self._number))
            deployment.start("worker", "delivery")
            return await deployment.until_written(names.OUTCOMES, self._number)

    async def bare(self, latency_ms: int, _: int) -> float:
        async with fresh_deployment(self._stack) as deployment:
            url = connector(deployment, "acme", "--latency-ms", str(latency_ms))
            output = deployment.folder / "bare.txt"
            program = deployment.start(
                "tests.bench.contenders.bare", url, str(self._number), str(IN_FLIGHT), log=output
            )
            await asyncio.to_thread(subprocess.Popen.wait, program)
            deployment.kill(program)
            return float(output.read_text())


async def run(stack: StackEnv, rounds: int, number: int) -> dict[str, Figure]:
    delivery = Delivery(stack, number)
    return await alternate({
        f"{name}, {latency_ms} ms": partial(measure, latency_ms)
        for latency_ms in LATENCIES_MS
        for name, measure in (("ours", delivery.ours), ("bare loop", delivery.bare))
    }, rounds)  # fmt: skip


def section(figures: dict[str, Figure]) -> page.Section:
    rows = []
    for latency_ms in LATENCIES_MS:
        ours, bare = figures[f"ours, {latency_ms} ms"], figures[f"bare loop, {latency_ms} ms"]
        ratio = ours.ratio_to(bare)
        rows.append((f"{latency_ms} ms", ours, bare, f"**{ratio.median:.2f}** ({ratio.low:.2f}–{ratio.high:.2f})"))
    text = page.table(("connector takes", "ours, commands/s", "bare loop, requests/s", "ours of the bare loop"), rows)
    shown = picture.bars("Commands per second, one process", "median, min–max", figures, "ours, 20 ms")
    return page.Section("delivery", text, "make bench-delivery", {"delivery": shown})
