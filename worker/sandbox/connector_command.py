"""`settlement sandbox connector`: serves until SIGTERM."""

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer
from aiohttp import web

from worker.domain.money import EXPONENTS
from worker.listening import address, listen
from worker.sandbox.book import Book
from worker.sandbox.connector import FAULTS, Faults, SandboxConnector

LOOPBACK = "127.0.0.1"


def connector_command(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one and prints it.")] = 8080,
    host: Annotated[str, typer.Option(help="Where it listens; beyond loopback it trusts everybody.")] = LOOPBACK,
    latency_ms: Annotated[float, typer.Option(min=0, help="About how long an answer takes.")] = 0,
    error_rate: Annotated[float, typer.Option(min=0, max=1, help="How often it answers 500 and does nothing.")] = 0,
    lost_reply_rate: Annotated[float, typer.Option(min=0, max=1, help="How often it does it and never says so.")] = 0,
    fault: Annotated[
        list[str] | None,
        typer.Option(metavar="WORD=RATE", help=f"How often a fault happens by chance: {', '.join(FAULTS)}."),
    ] = None,
    per_second: Annotated[float | None, typer.Option(min=0.1, help="What comes faster is answered 429.")] = None,
    currency: Annotated[str, typer.Option(help="Decides how many decimals its amounts have.")] = "BRL",
    book: Annotated[Path | None, typer.Option(help="A file that keeps the book.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed misbehaves in the same way.")] = 1,
) -> None:
    """Runs a payment connector, with a book (GET /book) and faults by chance or by POST /faults."""
    if currency not in EXPONENTS:
        raise typer.BadParameter(f"{currency} is not a currency that can be settled")
    rates = {"error": error_rate, "lost": lost_reply_rate} | dict(map(_rate, fault or []))
    faults = Faults(latency_ms, per_second, currency, rates)
    asyncio.run(_serve(SandboxConnector(Book(book), faults, seed), host, port))


def _rate(text: str) -> tuple[str, float]:
    word, _, rate = text.partition("=")
    try:
        found = float(rate)
    except ValueError:
        found = -1.0
    if word not in FAULTS or not 0 <= found <= 1:
        raise typer.BadParameter(f"--fault takes WORD=RATE, such as error=0.1, not {text!r}")
    return word, found


async def _serve(connector: SandboxConnector, host: str, port: int) -> None:
    runner = web.AppRunner(connector.application(), access_log=None, shutdown_timeout=1)
    await runner.setup()
    await listen(runner, host, port, "--host and --port")
    print(f"connector on http://{address(host, runner.addresses[0][1])}", flush=True)  # noqa: T201 - this is its output
    stopping = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stopping.set)
    await stopping.wait()
    await runner.cleanup()
