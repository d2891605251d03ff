"""`settlement demo`: an ERP, both workers and connectors that misbehave, all for real, and a summary of the money."""

import asyncio
import logging
import secrets
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from worker import stack
from worker.console.running import AsJson
from worker.console.screen import show_json
from worker.domain.money import to_major
from worker.sandbox.deployment import CONNECTORS, POLL_SECONDS, Sandbox, Verdict, is_done
from worker.sandbox.erp import ErpOrder, erp_orders
from worker.sandbox.erp_command import publish
from worker.sandbox.processes import ProcessError
from worker.sandbox.watching import Seen
from worker.settings import Settings, load

FAILED = 1
CURRENCY = "BRL"
QUIET_SECONDS_MAX = 120.0  # without any progress: something is stuck

console = Console()


def demo_command(
    orders: Annotated[int, typer.Option(min=1, help="How many orders the ERP sends.")] = 300,
    seed: Annotated[int, typer.Option(help="The same seed gives the same orders.")] = 1,
    ops: Annotated[bool, typer.Option("--ops", help="Opens the ops view and leaves it open until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Plays everything at once against the sandbox: real Kafka, real PostgreSQL, real HTTP.

    Starts what is not running and leaves nothing running behind it. Ends with 1 if a cent does not add up.
    """
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # a broker that has just started needs a second try
    console.stderr = as_json  # standard output is for the summary alone
    settings = load()
    told = list(erp_orders(orders, sorted(CONNECTORS), seed, "demo"))
    try:
        with _stack(settings) as environment:
            good = asyncio.run(_play(settings, environment, told, ops=ops, as_json=as_json))
    except (ProcessError, stack.StackError) as problem:
        Console(stderr=True).print(f"settlement: {problem}", markup=False)
        raise SystemExit(FAILED) from None
    except KeyboardInterrupt:
        console.print("stopped; nothing is left running")
        raise SystemExit(FAILED) from None
    raise SystemExit(0 if good else FAILED)


@contextmanager
def _stack(settings: Settings) -> Iterator[dict[str, str]]:
    """The settings of a broker and a database: the user's own, or the embedded ones, which end as they were found."""
    if not settings.embedded:
        yield {"KAFKA_BOOTSTRAP_SERVERS": settings.bootstrap, "DATABASE_URL": settings.database}
        return
    home = settings.home
    running = all(look.accepting for look in stack.status(home))
    try:
        with console.status("starting Kafka and PostgreSQL (the first time they are fetched)"):
            environment = stack.up(home).as_settings()
        yield environment
    finally:
        if not running:
            stack.down(home)


async def _play(
    settings: Settings, environment: Mapping[str, str], told: Sequence[ErpOrder], *, ops: bool, as_json: bool
) -> bool:
    name = f"demo_{secrets.token_hex(3)}"
    async with Sandbox(name, settings.home, environment) as deployment:
        if ops:
            console.print(f"ops view on {await deployment.open_ops_view()}", highlight=False)
        began = time.monotonic()
        await _progress(deployment, told)
        seconds = time.monotonic() - began
        verdict = await deployment.verdict(told)
        show = _summary_as_json if as_json else _summary
        show(verdict, deployment.poll(), told, seconds)
        if ops:
            await _stay_open(deployment)
        _where_to_look(deployment, told[0].order_id)
    return verdict.good


async def _stay_open(deployment: Sandbox) -> None:
    """The workers come back after the count, and the view stays until Ctrl-C."""
    deployment.start_workers()
    console.print(f"\nthe ops view stays open on {deployment.ops_url}; Ctrl-C ends it", highlight=False)
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stopping.set)
    await stopping.wait()


async def _progress(deployment: Sandbox, told: Sequence[ErpOrder]) -> None:
    """Publishes, and waits until every order is finished and every refund is done."""
    columns = (
        TextColumn("{task.description:>16}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
    )
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        messages = progress.add_task("messages sent", total=sum(len(story.messages) for story in told), rate="")
        captured = progress.add_task("captures", total=None, rate="")
        finished = progress.add_task("orders finished", total=len(told), rate="")
        began = moved = time.monotonic()
        sending = asyncio.create_task(publish(deployment.settings, told, 0, lambda n: progress.advance(messages, n)))
        last, done = -1, 0
        while done < len(told) or not sending.done():
            await asyncio.sleep(POLL_SECONDS)
            seen = deployment.poll()
            done = sum(1 for story in told if is_done(seen, story))
            captures, passed = seen.events["settlement.confirmed"], time.monotonic() - began
            progress.update(captured, completed=captures, rate=f"{captures / passed:.0f}/s")
            progress.update(finished, completed=done, rate=f"{done / passed:.0f}/s")
            if (events := sum(seen.events.values())) != last:
                last, moved = events, time.monotonic()
            elif time.monotonic() - moved > QUIET_SECONDS_MAX:
                raise ProcessError(
                    f"nothing moved for {QUIET_SECONDS_MAX:.0f} s; {len(told) - done} orders are unfinished"
                )
        progress.update(captured, total=captures)
        await sending


def _summary(verdict: Verdict, seen: Seen, told: Sequence[ErpOrder], seconds: float) -> None:
    """What a person wants to know of the money, and whether every cent adds up."""
    table = Table("connector", "settled", "refunded", "voided", "its own book", title=f"Money, in {CURRENCY}")
    for account in verdict.accounts:
        sums = (to_major(value, CURRENCY) for value in account.ledger.values())
        table.add_row(account.connector, *sums, "[red]differs[/]" if account.differences else "agrees")
    console.print(table)
    waits = seen.waits_ms()
    console.print(f"{len(told)} orders in {seconds:.1f} s, {len(waits)} invoices captured")
    if waits:
        console.print(
            f"from invoice written to capture confirmed: p50 {_rank(waits, 50)} ms, p99 {_rank(waits, 99)} ms"
        )
    console.print("what the ERP invoiced " + ("is" if verdict.as_invoiced else "[red]IS NOT[/]") + " what was captured")
    console.print("audit of the ledger: " + ("every invariant holds" if verdict.audited else "[red]FAILED[/]"))
    if not verdict.audited:
        console.print(verdict.complaints, markup=False)


def _summary_as_json(verdict: Verdict, seen: Seen, told: Sequence[ErpOrder], seconds: float) -> None:
    """The same as one object; money in minor units."""
    waits = seen.waits_ms()
    show_json({
        "good": verdict.good, "orders": len(told), "seconds": round(seconds, 1), "captured_invoices": len(waits),
        "invoice_to_capture_ms": {f"p{percent}": _rank(waits, percent) if waits else None for percent in (50, 99)},
        "as_invoiced": verdict.as_invoiced, "audited": verdict.audited, "currency": CURRENCY,
        "connectors": {one.connector: {**one.ledger, "agrees": not one.differences} for one in verdict.accounts},
        "complaints": None if verdict.audited else verdict.complaints,
    })  # fmt: skip


def _rank(ordered: list[int], percent: int) -> int:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def _where_to_look(deployment: Sandbox, order_id: str) -> None:
    """How to see more of it; the data stays, in the folder of the stack."""
    program = ".venv/bin/settlement"
    database = urlsplit(deployment.environment["DATABASE_URL"]).path
    console.print(f"\nlogs are in {deployment.folder}. To look further:", highlight=False, soft_wrap=True)
    for line in (
        f'{program} stack up; eval "$({program} stack env)"',
        f'export DATABASE_URL="${{DATABASE_URL%/*}}{database}"',
        f"{program} order {order_id}",
    ):
        console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
