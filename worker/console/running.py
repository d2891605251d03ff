"""Runs a command's work: an event loop, a database connection, a progress bar."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from typing import Annotated, Any, TypeVar

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from worker.console.screen import err
from worker.embedded import with_embedded_stack
from worker.postgres.connecting import Connection, connected
from worker.postgres.migrations import require_current
from worker.settings import load

# Work that ends sooner shows no bar.
QUIET_SECONDS = 0.5

Result = TypeVar("Result")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Runs the work in an event loop and returns its result."""
    with closing(work):  # else Python warns of a coroutine that was interrupted before it began
        import uvloop

        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # we report an error once, in our own words
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(work)


def with_connection(work: Callable[[Connection], Awaitable[Result]]) -> Result:
    """Runs the work with a connection, after checking that the database has our newest schema."""
    url = with_embedded_stack(load()).database

    async def connect_and_work() -> Result:
        async with connected(url, name="settlement-people", schema="ledger") as connection:
            await require_current(connection)
            return await work(connection)

    return run(connect_and_work())


@contextmanager
def progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """Yields a function that reports progress, as a bar on standard error if that is a terminal."""
    console = err()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task = bar.add_task(label, total=None)
    began = time.monotonic()

    def report(done: int, total: int) -> None:
        if time.monotonic() - began > QUIET_SECONDS:
            bar.start()
        bar.update(task, completed=done, total=total)

    try:
        yield report
    finally:
        bar.stop()
