"""`settlement audit | rebuild | order`: are the books right, do the facts say the same, what happened to one order."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import asyncpg
import orjson
import typer
from rich.console import Console
from rich.table import Table

from worker.ledger.audit import INVARIANTS, Audit
from worker.ledger.order_page import OrderPage, read_order, show_order
from worker.ledger.rebuild import Rebuild
from worker.postgres.connecting import connect
from worker.settings import Settings, load, with_embedded_stack

FAILED = 1
WRONG_USAGE = 2
FINDINGS_SHOWN_MAX = 200

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def audit_command(as_json: AsJson = False) -> None:
    """Checks the invariants I1–I9 on the whole database; ends with 1 and the list where one does not hold.

    Reads one snapshot, so it may run beside the workers. Exit code 0: all hold.
    """
    verdict = asyncio.run(run_audit(with_embedded_stack(load())))
    if as_json:
        _print(verdict)
    else:
        _show_audit(verdict)
    raise SystemExit(0 if verdict["ok"] else FAILED)


async def run_audit(settings: Settings) -> dict[str, Any]:
    """`ok`, how much was `checked`, how often each of the `invariants` is `broken`, and the first `findings`."""
    async with _snapshot(settings) as connection:
        audit = Audit(connection, settings.topic_partitions)
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


def rebuild_command(
    check: Annotated[bool, typer.Option("--check", help="Compare with what is stored; nothing is changed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Folds the stored facts of every order again, each under its own terms, and compares with what is stored."""
    if not check:
        typer.echo("settlement: nothing was done; `settlement rebuild --check` folds and compares", err=True)
        raise SystemExit(WRONG_USAGE)
    verdict = asyncio.run(run_rebuild(with_embedded_stack(load())))
    if as_json:
        _print(verdict)
    else:
        text = f"{verdict['facts']} facts of {verdict['orders']} orders folded again: "
        typer.echo(text + ("the same, entry by entry" if verdict["ok"] else f"{verdict['differing']} differences"))
        for sentence in verdict["differences"]:
            typer.echo(sentence)
    raise SystemExit(0 if verdict["ok"] else FAILED)


async def run_rebuild(settings: Settings) -> dict[str, Any]:
    """`ok`, the number of `orders` and `facts`, how many were `differing`, and the first `differences`."""
    async with _snapshot(settings) as connection:
        rebuild = Rebuild(connection)
        differing, shown = 0, list[str]()
        async for sentence in rebuild.differences():
            differing += 1
            if len(shown) < FINDINGS_SHOWN_MAX:
                shown.append(sentence)
    return {
        "ok": not differing, "orders": rebuild.orders, "facts": rebuild.facts, "differing": differing,
        "differences": shown,
    }  # fmt: skip


def order_command(
    order_id: Annotated[str, typer.Argument(help="The order's id.")],
    explain: Annotated[bool, typer.Option("--explain", help="Where each cent came from.")] = False,
    as_json: AsJson = False,
) -> None:
    """Shows one order: balances, invoices, timeline, what was asked and what the connector did."""
    page = asyncio.run(_order(with_embedded_stack(load()), order_id))
    if page is None:
        typer.echo(f"settlement: no order {order_id} is known", err=True)
        raise SystemExit(FAILED)
    if as_json:
        _print(page.as_json(explain))
    else:
        show_order(Console(highlight=False, soft_wrap=True), page, explain)


async def _order(settings: Settings, order_id: str) -> OrderPage | None:
    async with _snapshot(settings) as connection:
        return await read_order(connection, order_id)


@asynccontextmanager
async def _snapshot(settings: Settings) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """One unchanging view of the database, also while workers run."""
    connection = await connect(
        settings.database, name="settlement-audit", schema="ledger", statement_timeout="0",
        idle_in_transaction_session_timeout="0",
    )  # fmt: skip
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield connection
    finally:
        await connection.close()


def _show_audit(verdict: dict[str, Any]) -> None:
    console = Console(soft_wrap=True, highlight=False)
    table = Table("", "invariant", "", box=None)
    for one in verdict["invariants"]:
        says = f"[red]{one['broken']} broken[/]" if one["broken"] else "[green]holds[/]"
        table.add_row(one["invariant"], one["promise"], says)
    console.print(table)
    for one in verdict["findings"]:
        console.print(f"{one['invariant']}: {one['finding']}", markup=False)
    looked_at = ", ".join(f"{number} {name}" for name, number in verdict["checked"].items())
    console.print(f"looked at {looked_at or 'an empty ledger'}")


def _print(data: object) -> None:
    typer.echo(orjson.dumps(data))
