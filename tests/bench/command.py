"""Time from an invoice written to its command on the topic, at fractions of the highest rate measured just before."""

import asyncio
import statistics
import time

import orjson

from tests.bench import load, page
from tests.bench.deployment import PARTITIONS, Deployment, fresh_deployment
from tests.bench.ledger import PARCELS, Ledger, opened
from worker.kafka import names
from worker.kafka.source import Source
from worker.stack import StackEnv

SHARES = (0.1, 0.5, 0.8)
TICK_SECONDS = 0.005
# The first fifth is a warm-up, during which PostgreSQL makes its plans and connections grow their windows.
WARM_UP_SHARE = 0.2
TIMEOUT_SECONDS = 30.0


async def run(stack: StackEnv, seconds: float, orders: int) -> tuple[float, dict[float, list[float]]]:
    """The highest rate, and the sorted latencies in milliseconds at each share of it."""
    highest = await Ledger(stack, orders).ours(0)
    return highest, {share: await _latencies_ms(stack, highest * share, seconds) for share in SHARES}


async def _latencies_ms(stack: StackEnv, rate: float, seconds: float) -> list[float]:
    async with fresh_deployment(stack) as deployment:
        number = int(rate * seconds)
        ids = await opened(deployment, number // PARCELS + 1)
        deployment.start("worker", "ledger")
        await deployment.until_shared(1)
        watcher = CommandWatcher(deployment)
        await watcher.open()
        sent_at = await _send(deployment, ids, number, rate)
        seen_at = await watcher.until(number)
        await watcher.close()
        measured = list(sent_at.items())[int(number * WARM_UP_SHARE) :]
        return sorted((seen_at[invoice] - at) * 1000 for invoice, at in measured)


async def _send(deployment: Deployment, ids: list[str], number: int, rate: float) -> dict[str, float]:
    """Sends invoices at a constant rate, however slow the worker is; a load that waited for it would hide delays.

    Returns the time at which each invoice was sent.
    """
    invoices, sent_at = load.invoices(ids, range(PARCELS), PARTITIONS), dict[str, float]()
    started = time.monotonic()
    while len(sent_at) < number:
        due = min(number, int((time.monotonic() - started) * rate) + 1) - len(sent_at)
        batch = [next(invoices) for _ in range(due)]
        now = time.monotonic()
        for record in batch:
            data = orjson.loads(record.value or b"")
            sent_at[f"{data['orderId']}/{data['invoiceNumber']}"] = now
        await deployment.queue(batch)
        await asyncio.sleep(TICK_SECONDS)
    return sent_at


class CommandWatcher:
    """Reads the commands topic and records when each command was seen."""

    def __init__(self, deployment: Deployment) -> None:
        self._arrived = asyncio.Event()
        self._source = Source(deployment.settings, "watch", (names.COMMANDS,), self._record)
        self._seen_at: dict[str, float] = {}

    async def open(self) -> None:
        await self._source.start()
        await self._source.assign({(names.COMMANDS, partition): 0 for partition in range(PARTITIONS)})

    async def close(self) -> None:
        await self._source.stop()

    async def until(self, number: int) -> dict[str, float]:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while len(self._seen_at) < number:
                self._arrived.clear()
                await self._arrived.wait()
        return self._seen_at

    def _record(self) -> None:
        now = time.monotonic()
        for record in self._source.take(1 << 30, 1 << 40):
            command = orjson.loads(record.value or b"")
            self._seen_at.setdefault(f"{command['orderId']}/{command['cause']['id']}", now)
        self._arrived.set()


def section(highest: float, latencies_ms: dict[float, list[float]]) -> page.Section:
    rows = []
    for share, milliseconds in latencies_ms.items():
        cuts = statistics.quantiles(milliseconds, n=100, method="inclusive")
        columns = (cuts[49], cuts[89], cuts[98], milliseconds[-1])
        rows.append((f"{share:.0%}", f"{highest * share:,.0f}", *(f"{value:.1f}" for value in columns)))
    head = ("share of the highest rate", "invoices/s", "p50, ms", "p90, ms", "p99, ms", "max, ms")
    return page.Section("command", page.table(head, rows), "make bench-command")
