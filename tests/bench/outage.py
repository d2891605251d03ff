"""A connector fails under load and recovers: how many attempts it gets meanwhile, and how fast the backlog is done."""

import asyncio
import re
import time
from collections import Counter
from itertools import pairwise
from typing import Any

from tests.bench import page, picture
from tests.bench.deployment import STALLED_SECONDS, Deployment, fresh_deployment
from tests.bench.sending import book, commands, connector, metric, plan_fault
from tests.until import until
from worker.kafka import names
from worker.stack import StackEnv

PER_SECOND = 100
CALM_SECONDS = 15
POLL_SECONDS = 1.0
# A long retry schedule and a short timeout, as for a card connector, scaled down to the length of a benchmark.
CONNECTOR_SETTINGS: dict[str, Any] = {
    "timeout_seconds": 1.0, "max_in_flight": 64, "breaker_seconds": 5.0, "retry_seconds": [1, 5, 30, 120, 600],
}  # fmt: skip

Result = dict[str, Any]


async def run(stack: StackEnv, seconds: int) -> Result:
    """Measures a connector that is down, one that never answers in time, and one that loses replies and forgets."""
    return {
        "seconds": seconds,
        "gone": await _outage(stack, seconds, gone=True),
        "late": await _outage(stack, seconds, gone=False),
        "forgetful": await _forgetful(stack),
    }


def section(result: Result) -> page.Section:
    gone, late, forgetful = result["gone"], result["late"], result["forgetful"]
    rows = [
        (name, f"{case['commands']:,}", f"{case['during']:.1f}", f"{case['after']:,.0f}", f"{case['recovery']:.0f} s",
         case["twice"])
        for name, case in (("gone (connection refused)", gone), ("answers after the time limit", late))
    ]  # fmt: skip
    head = (f"{result['seconds']} s away", "commands", "attempts/s meanwhile", "most attempts/s after",
            "caught up after", "effects twice")  # fmt: skip
    text = (
        f"{page.table(head, rows)}\n\n{PER_SECOND} commands/s all the while; breaker of 5 s, time limit of 1 s, 64 at "
        "once.\n\nA connector that loses one reply in ten and then forgets what it has done: "
        f"{forgetful['commands']:,} commands were asked under {forgetful['ids']:,} request ids, and it moved money "
        f"twice for {forgetful['twice']:,}. No client can prevent that; `settlement audit --connector` names each."
    )
    shown = {
        f"outage-{name}": picture.lines(
            title, "per second", "seconds", {"attempts": case["attempts"], "outcomes": case["done"]})
        for name, title, case in (("gone", "A connector that is gone", gone),
                                 ("late", "A connector that answers too late", late))
    }  # fmt: skip
    return page.Section("outage", text, "make bench-outage", shown)


async def _outage(stack: StackEnv, seconds: int, *, gone: bool) -> Result:
    async with fresh_deployment(stack) as deployment:
        url = connector(deployment, "acme", "--latency-ms", "20", **CONNECTOR_SETTINGS)
        program = deployment.newest
        log = deployment.folder / "worker.log"
        deployment.start("worker", "delivery", log=log, OPS_PORT="0")
        address = await until(lambda: re.search(r"ops server on (\S+)", log.read_text()), STALLED_SECONDS)
        samples: list[tuple[float, float, int]] = []
        sampling = asyncio.create_task(_sample(deployment, address.group(1), samples))
        loading = asyncio.create_task(_load(deployment, 2 * CALM_SECONDS + seconds))
        await asyncio.sleep(CALM_SECONDS)
        if gone:
            deployment.kill(program)
            await asyncio.sleep(seconds)
            (deployment.folder / "acme.log").unlink()
            connector(deployment, "acme", "--latency-ms", "20", port=int(url.rsplit(":", 1)[1]), **CONNECTOR_SETTINGS)
        else:
            plan_fault(url, "silence", seconds)
            await asyncio.sleep(seconds)
        recovered_at = time.monotonic()
        total = await loading
        await deployment.until_written(names.OUTCOMES, total)
        recovery = time.monotonic() - recovered_at
        await asyncio.sleep(POLL_SECONDS)
        sampling.cancel()
        effects: Counter[str] = Counter(effect["requestId"] for effect in book(url)["effects"])
        attempts, done = _rates(samples, 1), _rates(samples, 2)
        meanwhile = [rate for at, rate in attempts if CALM_SECONDS + 2 < at < CALM_SECONDS + seconds]
        return {
            "commands": total, "attempts": attempts, "done": done, "recovery": recovery,
            "during": sum(meanwhile) / max(1, len(meanwhile)), "twice": sum(times > 1 for times in effects.values()),
            "after": max((rate for at, rate in attempts if at > CALM_SECONDS + seconds), default=0.0),
        }  # fmt: skip


async def _forgetful(stack: StackEnv) -> Result:
    async with fresh_deployment(stack) as deployment:
        faults = ["--fault", "lost=0.1", "--fault", "forget=0.9"]
        url = connector(deployment, "acme", *faults, **CONNECTOR_SETTINGS | {"retry_seconds": [0.2]})
        deployment.start("worker", "delivery")
        total = await deployment.send(commands(0, 2_000))
        await deployment.until_written(names.OUTCOMES, total)
        effects: Counter[str] = Counter(effect["requestId"] for effect in book(url)["effects"])
        return {"commands": total, "ids": len(effects), "twice": sum(times > 1 for times in effects.values())}


async def _load(deployment: Deployment, seconds: int) -> int:
    """Sends commands at a constant rate; returns their number."""
    started, sent = time.monotonic(), 0
    for tick in range(seconds * 10):
        await asyncio.sleep(max(0.0, started + tick / 10 - time.monotonic()))
        sent += await deployment.send(commands(sent, PER_SECOND // 10))
    return sent


async def _sample(deployment: Deployment, address: str, samples: list[tuple[float, float, int]]) -> None:
    """Records each second: the time, the number of finished attempts, the number of published outcomes."""
    started = time.monotonic()
    while True:
        attempts = await asyncio.to_thread(metric, address, "settlement_attempts_total{")
        samples.append((time.monotonic() - started, attempts, await deployment.written(names.OUTCOMES)))
        await asyncio.sleep(POLL_SECONDS)


def _rates(samples: list[tuple[float, float, int]], column: int) -> list[tuple[float, float]]:
    return [
        (after[0], (after[column] - before[column]) / (after[0] - before[0])) for before, after in pairwise(samples)
    ]
