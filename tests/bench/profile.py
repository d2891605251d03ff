"""How the ledger worker's processor time per invoice is distributed over its parts."""

import json

from msgspec import Struct

from tests.bench import load, page
from tests.bench.contenders.sampled import STARTING
from tests.bench.deployment import PARTITIONS, fresh_deployment
from tests.bench.ledger import PARCELS, opened
from worker.kafka import names
from worker.stack import StackEnv


class Result(Struct):
    """Microseconds of processor time per invoice, by part of the worker."""

    invoices: int
    parts: dict[str, float]


async def run(stack: StackEnv, orders: int) -> Result:
    async with fresh_deployment(stack) as deployment:
        ids = await opened(deployment, orders)
        sent = await deployment.send(load.invoices(ids, range(PARCELS), PARTITIONS))
        file = deployment.folder / "profile.json"
        worker = deployment.start("tests.bench.contenders.sampled", "ledger", PROFILE=str(file))
        await deployment.until_written(names.COMMANDS, sent)
        await deployment.stop(worker)
        profile = json.loads(file.read_text())
    microseconds = profile["seconds"] / sum(profile["samples"].values()) / sent * 1e6  # per sample and invoice
    return Result(sent, {part: count * microseconds for part, count in profile["samples"].items() if part != STARTING})


def section(result: Result) -> page.Section:
    total = sum(result.parts.values())
    by_cost = sorted(result.parts.items(), key=lambda part: -part[1])
    rows = [(part, f"{cost:.0f}", f"{cost / total:.0%}") for part, cost in by_cost]
    text = (
        f"{page.table(('part of the way', 'µs per invoice', 'share'), rows)}\n\n"
        f"In all {total:.0f} µs of one core for an invoice, over {result.invoices:,} of them, starting left out."
    )
    return page.Section("profile", text, "make bench-profile")
