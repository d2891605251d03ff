"""Resident memory of one worker while it processes more and more orders."""

import psutil

from tests.bench import load, page, picture
from tests.bench.deployment import PARTITIONS, fresh_deployment
from worker.kafka import names
from worker.stack import StackEnv

PARCELS = 2
STEP_ORDERS = 5_000

Points = list[tuple[float, float]]


async def run(stack: StackEnv, orders: int) -> Points:
    """The number of orders opened and fully invoiced so far, and the worker's megabytes, after each step."""
    points: Points = []
    async with fresh_deployment(stack) as deployment:
        process = psutil.Process(deployment.start("worker", "ledger").pid)
        for step in range(max(1, orders // STEP_ORDERS)):
            ids = load.order_ids(f"step{step}", STEP_ORDERS)
            await deployment.send(load.orders(ids, PARCELS, PARTITIONS))
            await deployment.until_consumed(names.ORDER_CHANGES, STEP_ORDERS * (step + 1))
            await deployment.send(load.invoices(ids, range(PARCELS), PARTITIONS))
            await deployment.until_written(names.COMMANDS, STEP_ORDERS * PARCELS * (step + 1))
            points.append(((step + 1) * STEP_ORDERS, process.memory_info().rss / 1e6))
            print(f"  {points[-1][0]:,.0f} orders: {points[-1][1]:.0f} MB", flush=True)
    return points


def section(points: Points) -> page.Section:
    half = points[len(points) // 2 :]
    growth = (half[-1][1] - half[0][1]) / max(1, half[-1][0] - half[0][0]) * 1e6
    text = (
        f"After {points[-1][0]:,.0f} orders with {PARCELS} invoices each the worker holds {points[-1][1]:.0f} MB, "
        f"at most {max(size for _, size in points):.0f} MB on the way. Between {half[0][0]:,.0f} and "
        f"{half[-1][0]:,.0f} orders it changed by {half[-1][1] - half[0][1]:+.1f} MB; a line through these two points "
        f"says {growth:+.0f} MB for a million orders more."
    )
    shown = picture.lines("Resident memory of one worker", "MB", "orders", {"resident": points})
    return page.Section("memory", text, "make bench-memory", {"memory": shown})
