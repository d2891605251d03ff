"""Are the books right, and do the facts say the same? Each in one snapshot, so that it may run beside the workers."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from worker.ledger.audit import INVARIANTS, Audit
from worker.ledger.rebuild import Rebuild
from worker.postgres.connecting import connect
from worker.postgres.migrations import require_current
from worker.postgres.queries import load
from worker.settings import Settings

FINDINGS_SHOWN_MAX = 200

_SQL = load("worker.ledger")

Told = Callable[[int, int], None]
"""How many orders are done, of how many."""


def _nobody(_done: int, _of: int) -> None:
    """Nobody is looking."""


async def run_audit(settings: Settings, told: Told = _nobody) -> dict[str, Any]:
    """`ok`, how much was `checked`, how often each of the `invariants` is `broken`, and the first `findings`."""
    async with snapshot(settings) as connection:
        orders = await connection.fetchval(_SQL["count_orders"])
        audit = Audit(connection, settings.topic_partitions, lambda done: told(done, orders))
        broken: Counter[str] = Counter()
        findings: list[dict[str, str]] = []
        async for invariant, sentence in audit.findings():
            broken[invariant] += 1
            if len(findings) < FINDINGS_SHOWN_MAX:
                findings.append({"invariant": invariant, "finding": sentence})
    invariants = [
        {"invariant": name, "promise": promise, "broken": broken[name]} for name, promise in INVARIANTS.items()
    ]
    return {"ok": not broken, "checked": dict(audit.checked), "invariants": invariants, "findings": findings}


async def run_rebuild(settings: Settings, told: Told = _nobody) -> dict[str, Any]:
    """`ok`, the number of `orders` and `facts`, how many were `differing`, and the first `differences`."""
    async with snapshot(settings) as connection:
        orders = await connection.fetchval(_SQL["count_orders"])
        rebuild = Rebuild(connection, lambda done: told(done, orders))
        differing, shown = 0, list[str]()
        async for sentence in rebuild.differences():
            differing += 1
            if len(shown) < FINDINGS_SHOWN_MAX:
                shown.append(sentence)
    return {
        "ok": not differing, "orders": rebuild.orders, "facts": rebuild.facts, "differing": differing,
        "differences": shown,
    }  # fmt: skip


@asynccontextmanager
async def snapshot(settings: Settings) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """One unchanging view of the database, also while workers run; nothing can be written in it."""
    connection = await connect(
        settings.database, name="settlement-audit", schema="ledger", statement_timeout="0",
        idle_in_transaction_session_timeout="0",
    )  # fmt: skip
    try:
        await require_current(connection)
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield connection
    finally:
        await connection.close()
