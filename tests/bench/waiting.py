"""A backlog of a million commands: the memory of their worker, and the time from its start to the first request."""

import asyncio
import time

import orjson
import psutil

from tests.bench import page
from tests.bench.deployment import PARTITIONS, STALLED_SECONDS, fresh_deployment
from tests.bench.sending import book, command, connector
from tests.until import until
from worker.stack import StackEnv

MEASURED_SECONDS = 10.0

_WAITING = """
INSERT INTO delivery.commands (command_id, partition, order_id, payment_id, sequence, operation, connector, value,
    topic, source_partition, "offset", key, body, headers, "timestamp", due_at, taken_at, turn)
SELECT replace($1, '0000000', n::text), n % $3, 'order-' || n, 'order-' || n || '-card', 1, 'settle', 'acme', 1000,
    'settlement.commands.v1', 0, n, NULL, convert_to(replace($2, '0000000', n::text), 'UTF8'), '[]', now(),
    now() - interval '1 hour' + n * interval '1 ms', now(), true
FROM generate_series(1, $4::integer) AS n"""


async def run(stack: StackEnv, number: int) -> dict[str, float]:
    """Seconds to the first request, and the peak resident memory while the backlog is sent."""
    async with fresh_deployment(stack) as deployment:
        url = connector(deployment, "acme", "--latency-ms", "20")
        template = command(0)
        await deployment.database.execute(
            _WAITING, template["commandId"], orjson.dumps(template).decode(), PARTITIONS, number, timeout=600
        )
        await deployment.database.execute("VACUUM ANALYZE delivery.commands", timeout=600)
        started_ms = time.time_ns() / 1e6
        worker = deployment.start("worker", "delivery")
        await until(lambda: book(url)["requests"], STALLED_SECONDS)
        first_ms = book(url)["requests"][0]["atMs"]
        process, peak, deadline = psutil.Process(worker.pid), 0, time.monotonic() + MEASURED_SECONDS
        while time.monotonic() < deadline:
            peak = max(peak, process.memory_info().rss)
            await asyncio.sleep(0.1)
        sent = len(book(url)["effects"])
        return {"waiting": number, "seconds": (first_ms - started_ms) / 1e3, "megabytes": peak / 1e6, "sent": sent}


def section(result: dict[str, float]) -> page.Section:
    text = (
        f"With **{result['waiting']:,.0f} commands** waiting, a worker sent the first one "
        f"**{result['seconds']:.1f} s** after its process began (Python's start included), and took at most "
        f"**{result['megabytes']:.0f} MB** while it sent {result['sent']:,.0f} of them."
    )
    return page.Section("waiting", text, "make bench-waiting")
