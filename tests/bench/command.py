"""From an invoice written to its command on the topic, at parts of the highest rate that was measured just before."""

import asyncio
import statistics
import time

import orjson

from tests.bench import load, page
from tests.bench.deployment import PARTITIONS, Deployment, deployment
from tests.bench.ledger import PARCELS, Ledger, opened
from worker.kafka import names
from worker.kafka.source import Source
from worker.stack import StackEnv

SHARES = (0.1, 0.5, 0.8)
TICK_SECONDS = 0.005
# The first part warms up: plans are made, connections find their windows.
WARMING_SHARE = 0.2
PATIENCE_SECONDS = 30.0


async def run(stack: StackEnv, seconds: float, orders: int) -> tuple[float, dict[float, list[float]]]:
    """The highest rate, and the sorted milliseconds at each share of it."""
    highest = await Ledger(stack, orders).ours(0)
    return highest, {share: await _at(stack, highest * share, seconds) for share in SHARES}


async def _at(stack: StackEnv, rate: float, seconds: float) -> list[float]:
    async with deployment(stack) as here:
        number = int(rate * seconds)
        ids = await opened(here, number // PARCELS + 1)
        here.start("worker", "ledger")
        await here.until_shared(1)
        watch = Watch(here)
        await watch.open()
        sent = await _send(here, ids, number, rate)
        seen = await watch.until(number)
        await watch.close()
        return sorted((seen[one] - at) * 1000 for one, at in list(sent.items())[int(number * WARMING_SHARE) :])


async def _send(here: Deployment, ids: list[str], number: int, rate: float) -> dict[str, float]:
    """Evenly, whatever becomes of it: a load that waits for the worker would hide what waiting costs."""
    invoices, sent = load.invoices(ids, range(PARCELS), PARTITIONS), dict[str, float]()
    began = time.monotonic()
    while len(sent) < number:
        due = min(number, int((time.monotonic() - began) * rate) + 1) - len(sent)
        batch = [next(invoices) for _ in range(due)]
        now = time.monotonic()
        for one in batch:
            data = orjson.loads(one.value or b"")
            sent[f"{data['orderId']}/{data['invoiceNumber']}"] = now
        await here.hand_over(batch)
        await asyncio.sleep(TICK_SECONDS)
    return sent


class Watch:
    """Reads the commands topic and remembers when each command was seen."""

    def __init__(self, here: Deployment) -> None:
        self._arrived = asyncio.Event()
        self._source = Source(here.settings, "watch", (names.COMMANDS,), self._note)
        self._seen: dict[str, float] = {}

    async def open(self) -> None:
        await self._source.start()
        await self._source.assign({(names.COMMANDS, partition): 0 for partition in range(PARTITIONS)})

    async def close(self) -> None:
        await self._source.stop()

    async def until(self, number: int) -> dict[str, float]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self._seen) < number:
                self._arrived.clear()
                await self._arrived.wait()
        return self._seen

    def _note(self) -> None:
        now = time.monotonic()
        for record in self._source.take(1 << 30, 1 << 40):
            command = orjson.loads(record.value or b"")
            self._seen.setdefault(f"{command['orderId']}/{command['cause']['id']}", now)
        self._arrived.set()


def section(highest: float, found: dict[float, list[float]]) -> page.Section:
    rows = []
    for share, milliseconds in found.items():
        cuts = statistics.quantiles(milliseconds, n=100, method="inclusive")
        each = (cuts[49], cuts[89], cuts[98], milliseconds[-1])
        rows.append((f"{share:.0%}", f"{highest * share:,.0f}", *(f"{one:.1f}" for one in each)))
    head = ("share of the highest rate", "invoices/s", "p50, ms", "p90, ms", "p99, ms", "max, ms")
    return page.Section("command", page.table(head, rows), "make bench-command")
