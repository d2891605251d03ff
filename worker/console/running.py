"""How a command does its work: settings, one connection, a bar that shows where it is."""

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

# What is over sooner shows no bar.
QUIET_SECONDS = 0.5

Result = TypeVar("Result")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """The work's result."""
    with closing(work):  # what is stopped before it begins is no defect to be warned of
        import uvloop

        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what is wrong is said once, in a sentence of ours
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(work)


def with_connection(work: Callable[[Connection], Awaitable[Result]]) -> Result:
    """Runs some work on a connection to a database that has our newest schema."""
    url = with_embedded_stack(load()).database

    async def work_on_it() -> Result:
        async with connected(url, name="settlement-people", schema="ledger") as connection:
            await require_current(connection)
            return await work(connection)

    return run(work_on_it())


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, where a person looks at it and it takes longer than a moment."""
    console = err()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task = bar.add_task(what, total=None)
    began = time.monotonic()

    def told(done: int, of: int) -> None:
        if time.monotonic() - began > QUIET_SECONDS:
            bar.start()
        bar.update(task, completed=done, total=of)

    try:
        yield told
    finally:
        bar.stop()
