"""Runs `audit` and `rebuild --check`; each reads one snapshot, so it may run beside the workers."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import to_builtins

from worker.connector.book import read_book
from worker.ledger.audit import INVARIANTS, Audit
from worker.ledger.comparing import compare
from worker.ledger.rebuild import Rebuild
from worker.postgres.queries import load
from worker.postgres.snapshot import snapshot
from worker.settings import Settings

FINDINGS_SHOWN_MAX = 200

_SQL = load("worker.ledger")

Progress = Callable[[int, int], None]
"""Is called with how many orders are done, and of how many."""


def _no_progress(_done: int, _of: int) -> None:
    """For callers that show no progress."""


async def run_audit(
    settings: Settings, on_progress: Progress = _no_progress, books: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """`ok`, how much was `checked`, how often each of the `invariants` is `broken`, and the first `findings`.

    `books`: connectors whose own book, at this address, is compared to the cent; then `connectors` has their sums.
    """
    async with snapshot(settings.database, name="settlement-audit") as connection:
        orders = await connection.fetchval(_SQL["count_orders"])
        audit = Audit(connection, settings.topic_partitions, lambda done: on_progress(done, orders))
        broken: Counter[str] = Counter()
        findings: list[dict[str, str]] = []
        async for invariant, sentence in audit.findings():
            broken[invariant] += 1
            if len(findings) < FINDINGS_SHOWN_MAX:
                findings.append({"invariant": invariant, "finding": sentence})
        compared = [await compare(connection, name, await read_book(url)) for name, url in (books or {}).items()]
    different = [(one.connector, difference) for one in compared for difference in one.differences]
    broken.update({"I5": len(different)} if different else {})
    findings += [{"invariant": "I5", "finding": f"{name}: {difference}"} for name, difference in different]
    del findings[FINDINGS_SHOWN_MAX:]
    invariants = [
        {"invariant": name, "promise": promise, "broken": broken[name]} for name, promise in INVARIANTS.items()
    ]
    return {
        "ok": not broken, "checked": dict(audit.checked), "invariants": invariants, "findings": findings,
        "connectors": to_builtins(compared),
    }  # fmt: skip


async def run_rebuild(settings: Settings, on_progress: Progress = _no_progress) -> dict[str, Any]:
    """`ok`, the number of `orders` and `facts`, how many were `differing`, and the first `differences`."""
    async with snapshot(settings.database, name="settlement-rebuild") as connection:
        orders = await connection.fetchval(_SQL["count_orders"])
        rebuild = Rebuild(connection, lambda done: on_progress(done, orders))
        differing, shown = 0, list[str]()
        async for sentence in rebuild.differences():
            differing += 1
            if len(shown) < FINDINGS_SHOWN_MAX:
                shown.append(sentence)
    return {
        "ok": not differing, "orders": rebuild.orders, "facts": rebuild.facts, "differing": differing,
        "differences": shown,
    }  # fmt: skip
