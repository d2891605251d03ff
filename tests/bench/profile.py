"""Where the ledger worker's processor time goes, invoice by invoice."""

import json

from msgspec import Struct

from tests.bench import load, page
from tests.bench.contenders.sampled import STARTING
from tests.bench.deployment import PARTITIONS, deployment
from tests.bench.ledger import PARCELS, opened
from worker.kafka import names
from worker.stack import StackEnv


class Found(Struct):
    """Microseconds of processor time per invoice, by part of the way."""

    invoices: int
    parts: dict[str, float]


async def run(stack: StackEnv, orders: int) -> Found:
    async with deployment(stack) as here:
        ids = await opened(here, orders)
        sent = await here.send(load.invoices(ids, range(PARCELS), PARTITIONS))
        file = here.folder / "profile.json"
        worker = here.start("tests.bench.contenders.sampled", "ledger", PROFILE=str(file))
        await here.until_written(names.COMMANDS, sent)
        await here.stop(worker)
        found = json.loads(file.read_text())
    each = found["seconds"] / sum(found["looks"].values()) / sent * 1e6
    return Found(sent, {part: number * each for part, number in found["looks"].items() if part != STARTING})


def section(found: Found) -> page.Section:
    whole = sum(found.parts.values())
    by_cost = sorted(found.parts.items(), key=lambda part: -part[1])
    rows = [(part, f"{cost:.0f}", f"{cost / whole:.0%}") for part, cost in by_cost]
    text = (
        f"{page.table(('part of the way', 'µs per invoice', 'share'), rows)}\n\n"
        f"In all {whole:.0f} µs of one core for an invoice, over {found.invoices:,} of them, starting left out."
    )
    return page.Section("profile", text, "make bench-profile")
