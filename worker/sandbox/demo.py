"""`settlement demo`: runs an ERP, both workers and faulty connectors, and prints a summary of the money."""

import asyncio
import logging
import secrets
import signal
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from worker import stack
from worker.console.problems import FAILED, fail
from worker.console.running import AsJson
from worker.console.screen import show_json
from worker.domain.money import to_major
from worker.sandbox.deployment import CONNECTORS, POLL_SECONDS, Sandbox, Verdict, is_done
from worker.sandbox.erp import ErpOrder, erp_orders
from worker.sandbox.erp_command import publish
from worker.sandbox.processes import ProcessError
from worker.sandbox.watching import Observed
from worker.settings import Settings, load

CURRENCY = "BRL"
STALLED_SECONDS_MAX = 120.0  # without any new event

console = Console()


def demo_command(
    orders: Annotated[int, typer.Option(min=1, help="The number of orders that the ERP sends.")] = 300,
    seed: Annotated[int, typer.Option(help="The same seed gives the same orders.")] = 1,
    ops: Annotated[bool, typer.Option("--ops", help="Open the ops view and leave it open until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Play everything at once against the sandbox: real Kafka, real PostgreSQL, real HTTP.

    Starts Kafka and PostgreSQL if they do not run, and stops them again. Exits with 1 if a cent does not add up.
    """
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # hides the retries while a new broker is still starting
    console.stderr = as_json  # standard output is for the summary only
    settings = load()
    generated = list(erp_orders(orders, sorted(CONNECTORS), seed, "demo"))
    try:
        with _stack(settings) as environment:
            good = asyncio.run(_run(settings, environment, generated, ops=ops, as_json=as_json))
    except ProcessError as problem:
        fail(str(problem))
    except KeyboardInterrupt:
        console.print("Stopped; no program of the demo is left running.")
        raise
    raise SystemExit(0 if good else FAILED)


@contextmanager
def _stack(settings: Settings) -> Iterator[dict[str, str]]:
    """The addresses of Kafka and PostgreSQL: from the settings, or of an embedded stack; stops what it started."""
    if not settings.embedded:
        yield {"KAFKA_BOOTSTRAP_SERVERS": settings.bootstrap, "DATABASE_URL": settings.database}
        return
    home = settings.home
    was_running = all(service.accepting for service in stack.status(home))
    try:
        with console.status("starting Kafka and PostgreSQL (the first time they are fetched)"):
            environment = stack.up(home).as_settings()
        yield environment
    finally:
        if not was_running:
            stack.down(home)


async def _run(
    settings: Settings, environment: Mapping[str, str], orders: Sequence[ErpOrder], *, ops: bool, as_json: bool
) -> bool:
    name = f"demo_{secrets.token_hex(3)}"
    async with Sandbox(name, settings.home, environment) as deployment, _stopping_said():
        if ops:
            console.print(f"ops view on {await deployment.open_ops_view()}", highlight=False)
        started = time.monotonic()
        await _publish_and_wait(deployment, orders)
        seconds = time.monotonic() - started
        verdict = await deployment.verdict(orders)
        show = _show_summary_as_json if as_json else _show_summary
        show(verdict, deployment.poll(), orders, seconds)
        if ops:
            await _stay_open(deployment)
        _show_next_commands(deployment, orders[0].order_id)
    return verdict.good


@asynccontextmanager
async def _stopping_said() -> AsyncIterator[None]:
    """Answers Ctrl-C at once: the programs need some seconds to end."""
    try:
        yield
    except asyncio.CancelledError:
        console.print("\nstopping the programs of the demo …")
        raise


async def _stay_open(deployment: Sandbox) -> None:
    """Starts the workers again after the check of the books, and waits for Ctrl-C."""
    deployment.start_workers()
    console.print(f"\nthe ops view stays open on {deployment.ops_url}; press Ctrl-C to end it", highlight=False)
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stopping.set)
    await stopping.wait()


async def _publish_and_wait(deployment: Sandbox, orders: Sequence[ErpOrder]) -> None:
    """Publishes the orders, and shows the progress until every order is finished and every refund is done."""
    columns = (
        TextColumn("{task.description:>16}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
    )
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        messages = progress.add_task("messages sent", total=sum(len(order.messages) for order in orders), rate="")
        captured = progress.add_task("captures", total=None, rate="")
        finished = progress.add_task("orders finished", total=len(orders), rate="")
        started = last_change = time.monotonic()
        sending = asyncio.create_task(publish(deployment.settings, orders, 0, lambda n: progress.advance(messages, n)))
        last_count, done = -1, 0
        while done < len(orders) or not sending.done():
            await asyncio.sleep(POLL_SECONDS)
            observed = deployment.poll()
            done = sum(1 for order in orders if is_done(observed, order))
            captures, seconds = observed.events["settlement.confirmed"], time.monotonic() - started
            progress.update(captured, completed=captures, rate=f"{captures / seconds:.0f}/s")
            progress.update(finished, completed=done, rate=f"{done / seconds:.0f}/s")
            if (count := sum(observed.events.values())) != last_count:
                last_count, last_change = count, time.monotonic()
            elif time.monotonic() - last_change > STALLED_SECONDS_MAX:
                raise ProcessError(
                    f"no new event for {STALLED_SECONDS_MAX:.0f} s, and {len(orders) - done} orders are unfinished; "
                    f"the logs are in {deployment.folder}"
                )
        progress.update(captured, total=captures)
        await sending


def _show_summary(verdict: Verdict, observed: Observed, orders: Sequence[ErpOrder], seconds: float) -> None:
    """Prints the money of each connector, and whether every cent adds up."""
    table = Table("connector", "captured", "refunded", "voided", "its own book", title=f"Money, in {CURRENCY}")
    for account in verdict.accounts:
        sums = (to_major(value, CURRENCY) for value in account.ledger.values())
        table.add_row(account.connector, *sums, "[red]differs[/]" if account.differences else "agrees")
    console.print(table)
    waits = observed.waits_ms()
    console.print(f"{len(orders)} orders in {seconds:.1f} s, {len(waits)} invoices captured")
    if waits:
        console.print(
            "from invoice written to capture confirmed: "
            f"p50 {_percentile(waits, 50)} ms, p99 {_percentile(waits, 99)} ms"
        )
    console.print("what the ERP invoiced " + ("is" if verdict.as_invoiced else "[red]IS NOT[/]") + " what was captured")
    console.print("audit of the ledger: " + ("every invariant holds" if verdict.audited else "[red]FAILED[/]"))
    if not verdict.audited:
        console.print(verdict.complaints, markup=False)


def _show_summary_as_json(verdict: Verdict, observed: Observed, orders: Sequence[ErpOrder], seconds: float) -> None:
    """Prints the summary as one JSON object; money in minor units."""
    waits = observed.waits_ms()
    show_json({
        "good": verdict.good, "orders": len(orders), "seconds": round(seconds, 1), "captured_invoices": len(waits),
        "invoice_to_capture_ms": {f"p{rank}": _percentile(waits, rank) if waits else None for rank in (50, 99)},
        "as_invoiced": verdict.as_invoiced, "audited": verdict.audited, "currency": CURRENCY,
        "connectors": {
            account.connector: {**account.ledger, "agrees": not account.differences} for account in verdict.accounts
        },
        "complaints": None if verdict.audited else verdict.complaints,
    })  # fmt: skip


def _percentile(ordered: list[int], percent: int) -> int:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def _show_next_commands(deployment: Sandbox, order_id: str) -> None:
    """Prints how to inspect the data, which stays in the folder of the stack."""
    program = ".venv/bin/settlement"
    database = urlsplit(deployment.environment["DATABASE_URL"]).path
    console.print(f"\nThe logs are in {deployment.folder}. To inspect the data:", highlight=False, soft_wrap=True)
    for line in (
        f'{program} stack up; eval "$({program} stack env)"',
        f'export DATABASE_URL="${{DATABASE_URL%/*}}{database}"',
        f"{program} order {order_id}",
    ):
        console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
