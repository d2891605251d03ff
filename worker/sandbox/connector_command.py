"""`settlement sandbox connector`: runs the simulated connector until SIGTERM."""

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer
from aiohttp import web

from worker.domain.money import EXPONENTS
from worker.listening import address, listen
from worker.sandbox.book import Book
from worker.sandbox.connector import FAULTS, Behaviour, SandboxConnector

LOOPBACK = "127.0.0.1"


def connector_command(
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free port and prints it.")] = 8080,
    host: Annotated[
        str, typer.Option(help="Where it listens. It has no access control: beyond loopback everybody can use it.")
    ] = LOOPBACK,
    latency_ms: Annotated[float, typer.Option(min=0, help="Mean time until it answers.")] = 0,
    fault: Annotated[
        list[str] | None,
        typer.Option(metavar="WORD=RATE", help=f"Share of requests with this fault: {', '.join(FAULTS)}."),
    ] = None,
    per_second: Annotated[
        float | None, typer.Option(min=0.1, help="Requests above this rate are answered with 429.")
    ] = None,
    currency: Annotated[str, typer.Option(help="The currency; it sets the decimals of the amounts.")] = "BRL",
    book: Annotated[Path | None, typer.Option(help="A file that stores the book.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same faults.")] = 1,
) -> None:
    """Run a simulated payment connector, with a book (GET /book), and faults at random or planned by POST /faults."""
    if currency not in EXPONENTS:
        raise typer.BadParameter(f"{currency} is not a supported currency")
    behaviour = Behaviour(latency_ms, per_second, currency, dict(map(_parsed_fault, fault or [])))
    asyncio.run(_serve(SandboxConnector(Book(book), behaviour, seed), host, port))


def _parsed_fault(text: str) -> tuple[str, float]:
    word, _, number = text.partition("=")
    try:
        rate = float(number)
    except ValueError:
        rate = -1.0
    if word not in FAULTS or not 0 <= rate <= 1:
        raise typer.BadParameter(f"--fault takes WORD=RATE, such as error=0.1, not {text!r}")
    return word, rate


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
