"""A connector goes away under load and comes back: what is asked of it meanwhile, and how it is met again."""

import asyncio
import re
import time
from collections import Counter
from itertools import pairwise
from typing import Any

from tests.bench import page, picture
from tests.bench.deployment import STALLED_SECONDS, Deployment, deployment
from tests.bench.sending import book, commands, connector, metric, misbehave
from tests.until import until
from worker.kafka import names
from worker.stack import StackEnv

PER_SECOND = 100
CALM_SECONDS = 15
LOOK_SECONDS = 1.0
# A patient schedule, a short time limit: as an operator would have it for a card connector, but in a hurry.
BEARS: dict[str, Any] = {
    "timeout_seconds": 1.0, "max_in_flight": 64, "breaker_seconds": 5.0, "retry_seconds": [1, 5, 30, 120, 600],
}  # fmt: skip

Found = dict[str, Any]


async def run(stack: StackEnv, seconds: int) -> Found:
    """A connector that is gone, one that never answers in time, and one that loses replies and forgets."""
    return {
        "seconds": seconds,
        "gone": await _away(stack, seconds, gone=True),
        "late": await _away(stack, seconds, gone=False),
        "forgetful": await _forgetful(stack),
    }


def section(found: Found) -> page.Section:
    gone, late, forgetful = found["gone"], found["late"], found["forgetful"]
    rows = [
        (name, f"{one['commands']:,}", f"{one['during']:.1f}", f"{one['after']:,.0f}", f"{one['recovery']:.0f} s",
         one["twice"])
        for name, one in (("gone (connection refused)", gone), ("answers after the time limit", late))
    ]  # fmt: skip
    head = (f"{found['seconds']} s away", "commands", "attempts/s meanwhile", "most attempts/s after",
            "caught up after", "effects twice")  # fmt: skip
    text = (
        f"{page.table(head, rows)}\n\n{PER_SECOND} commands/s all the while; breaker of 5 s, time limit of 1 s, 64 at "
        "once.\n\nA connector that loses one reply in ten and then forgets what it has done: "
        f"{forgetful['commands']:,} commands were asked under {forgetful['ids']:,} request ids, and it moved money "
        f"twice for {forgetful['twice']:,}. No client can prevent that; `settlement audit --connector` names each."
    )
    shown = {
        f"outage-{name}": picture.lines(
            title, "per second", "seconds", {"attempts": one["attempts"], "outcomes": one["done"]})
        for name, title, one in (("gone", "A connector that is gone", gone),
                                 ("late", "A connector that answers too late", late))
    }  # fmt: skip
    return page.Section("outage", text, "make bench-outage", shown)


async def _away(stack: StackEnv, seconds: int, *, gone: bool) -> Found:
    async with deployment(stack) as here:
        url = connector(here, "acme", "--latency-ms", "20", **BEARS)
        program = here.newest
        log = here.folder / "worker.log"
        here.start("worker", "delivery", log=log, OPS_PORT="0")
        address = await until(lambda: re.search(r"ops server on (\S+)", log.read_text()), STALLED_SECONDS)
        watched: list[tuple[float, float, int]] = []
        watching = asyncio.create_task(_watch(here, address.group(1), watched))
        loading = asyncio.create_task(_load(here, 2 * CALM_SECONDS + seconds))
        await asyncio.sleep(CALM_SECONDS)
        if gone:
            here.forget(program)
            await asyncio.sleep(seconds)
            (here.folder / "acme.log").unlink()
            connector(here, "acme", "--latency-ms", "20", port=int(url.rsplit(":", 1)[1]), **BEARS)
        else:
            misbehave(url, "silence", seconds)
            await asyncio.sleep(seconds)
        back = time.monotonic()
        total = await loading
        await here.until_written(names.OUTCOMES, total)
        recovery = time.monotonic() - back
        await asyncio.sleep(LOOK_SECONDS)
        watching.cancel()
        effects: Counter[str] = Counter(one["requestId"] for one in book(url)["effects"])
        attempts, done = _rates(watched, 1), _rates(watched, 2)
        meanwhile = [rate for at, rate in attempts if CALM_SECONDS + 2 < at < CALM_SECONDS + seconds]
        return {
            "commands": total, "attempts": attempts, "done": done, "recovery": recovery,
            "during": sum(meanwhile) / max(1, len(meanwhile)), "twice": sum(times > 1 for times in effects.values()),
            "after": max((rate for at, rate in attempts if at > CALM_SECONDS + seconds), default=0.0),
        }  # fmt: skip


async def _forgetful(stack: StackEnv) -> Found:
    async with deployment(stack) as here:
        faults = ["--fault", "lost=0.1", "--fault", "forget=0.9"]
        url = connector(here, "acme", *faults, **BEARS | {"retry_seconds": [0.2]})
        here.start("worker", "delivery")
        total = await here.send(commands(0, 2_000))
        await here.until_written(names.OUTCOMES, total)
        effects: Counter[str] = Counter(one["requestId"] for one in book(url)["effects"])
        return {"commands": total, "ids": len(effects), "twice": sum(times > 1 for times in effects.values())}


async def _load(here: Deployment, seconds: int) -> int:
    """So many commands each second, evenly."""
    began, sent = time.monotonic(), 0
    for tick in range(seconds * 10):
        await asyncio.sleep(max(0.0, began + tick / 10 - time.monotonic()))
        sent += await here.send(commands(sent, PER_SECOND // 10))
    return sent


async def _watch(here: Deployment, address: str, watched: list[tuple[float, float, int]]) -> None:
    """Each second: the time, attempts that are over, outcomes that were told."""
    began = time.monotonic()
    while True:
        attempts = await asyncio.to_thread(metric, address, "settlement_attempts_total{")
        watched.append((time.monotonic() - began, attempts, await here.written(names.OUTCOMES)))
        await asyncio.sleep(LOOK_SECONDS)


def _rates(watched: list[tuple[float, float, int]], place: int) -> list[tuple[float, float]]:
    return [(after[0], (after[place] - before[place]) / (after[0] - before[0])) for before, after in pairwise(watched)]
