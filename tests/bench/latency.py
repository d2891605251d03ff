"""Time from an invoice of the ERP to the request at the connector, at a tenth of the highest rate of both workers."""

import asyncio
import time

from msgspec import Struct

from tests.bench import load, page
from tests.bench.deployment import PARTITIONS, Deployment, fresh_deployment
from tests.bench.ledger import opened
from tests.bench.rounds import Figure
from tests.bench.sending import book, connector
from worker.kafka import names
from worker.stack import StackEnv

BACKLOG = 5_000
DIVISOR = 10
WARM_UP_SECONDS = 3


class Result(Struct):
    """Round by round: the highest rates, the rates of the measurement, and how long invoices took."""

    highest: Figure
    per_second: Figure
    p50: Figure
    p99: Figure


async def run(stack: StackEnv, rounds: int, seconds: int) -> Result:
    result = Result(Figure(), Figure(), Figure(), Figure())
    for number in range(rounds):
        async with fresh_deployment(stack) as deployment:
            highest = await _highest_rate(deployment)
        per_second = max(1, round(highest / DIVISOR))
        async with fresh_deployment(stack) as deployment:
            waits_ms = await _waits(deployment, per_second, seconds)
        p50, p99 = waits_ms[len(waits_ms) // 2], waits_ms[len(waits_ms) * 99 // 100]
        for figure, value in (
            (result.highest, highest),
            (result.per_second, per_second),
            (result.p50, p50),
            (result.p99, p99),
        ):
            figure.values.append(value)
        print(f"  round {number + 1}: at {per_second} invoices/s p50 {p50:.0f} ms, p99 {p99:.0f} ms", flush=True)
    return result


async def _highest_rate(deployment: Deployment) -> float:
    """Captures per second while both workers process a backlog of invoices on the same cores."""
    connector(deployment, "acme", "--latency-ms", "20")
    ids = await opened(deployment, BACKLOG)
    await deployment.send(load.invoices(ids, [0], PARTITIONS))
    deployment.start("worker", "ledger")
    deployment.start("worker", "delivery")
    return await deployment.until_written(names.OUTCOMES, len(ids))


async def _waits(deployment: Deployment, per_second: int, seconds: int) -> list[float]:
    """Sends single invoices, each of another order, at a constant rate; returns the sorted times to their requests."""
    url = connector(deployment, "acme", "--latency-ms", "20")
    ids = await opened(deployment, per_second * (seconds + WARM_UP_SECONDS))
    deployment.start("worker", "ledger")
    deployment.start("worker", "delivery")
    written_ms: dict[str, float] = {}
    started = time.monotonic()
    for number, invoice in enumerate(load.invoices(ids, [0], PARTITIONS)):
        await asyncio.sleep(max(0.0, started + number / per_second - time.monotonic()))
        written_ms[f"{ids[number]}-card"] = time.time_ns() / 1e6
        await deployment.send([invoice])
    await deployment.until_written(names.OUTCOMES, len(ids))
    received_ms = {request["paymentId"]: request["atMs"] for request in reversed(book(url)["requests"])}
    steady = list(written_ms)[WARM_UP_SECONDS * per_second :]
    return sorted(received_ms[payment] - written_ms[payment] for payment in steady)


def section(result: Result) -> page.Section:
    text = (
        f"Both workers together bring {result.highest} invoices/s of a backlog to their captures. At a tenth of it, "
        f"{result.per_second} invoices/s: **p50 {result.p50} ms, p99 {result.p99} ms**; median (minimum–maximum) of "
        f"{len(result.p50.values)} rounds."
    )
    return page.Section("latency", text, "make bench-latency")
