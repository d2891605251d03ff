"""The commands that run the workers and prepare what they need: each wires settings, rooms and an exit code."""

import asyncio
import json
import sys
from collections.abc import Coroutine
from importlib.metadata import version
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console

from worker import telemetry
from worker.settings import Settings, load, with_embedded_stack

FAILED = 1

Result = TypeVar("Result")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def ledger_command() -> None:
    """Runs the ledger worker: consumes invoices, changes and outcomes, decides, and emits commands.

    Runs until SIGTERM, then drains and ends with 0.
    """
    from worker.ledger.handler import LedgerHandler

    _run_worker(LedgerHandler)


def delivery_command() -> None:
    """Runs the delivery worker: delivers each command to its payment connector, once, whatever the network does.

    Runs until SIGTERM, then lets what is in flight finish and ends with 0.
    """
    from worker.delivery.handler import DeliveryHandler

    _run_worker(DeliveryHandler)


def ops_command() -> None:
    """Runs the ops view: pages for people, live from the output topics. OPS_HOST and OPS_PORT say where.

    On loopback it is open to whoever works on this machine; elsewhere it asks for OPS_TOKEN (may decide) or
    OPS_VIEW_TOKEN (may look). Runs until SIGTERM, then ends with 0.
    """
    try:
        from worker.ops.command import run_ops
    except ModuleNotFoundError as missing:
        fail(f"{missing.name} is not installed: `pip install partial-settlement[ops]` brings what the view needs")
    settings = with_embedded_stack(load())
    telemetry.configure(settings)
    raise SystemExit(_loop(run_ops(settings)))


def _run_worker(factory: Any) -> NoReturn:
    from worker.stream.runner import run_worker

    settings = with_embedded_stack(load())
    telemetry.configure(settings)
    raise SystemExit(_loop(run_worker(settings, factory)))


def migrate_command(as_json: AsJson = False) -> None:
    """Brings the database schema up to date. Safe when several start at once."""
    from worker.postgres.migrations import MigrationError, migrate

    settings = with_embedded_stack(load())
    try:
        done = _loop(migrate(settings.database))
    except (MigrationError, OSError) as problem:
        fail(str(problem))
    show(as_json, {"applied": done}, f"applied: {', '.join(done)}" if done else "the schema is up to date")


def topics_command(as_json: AsJson = False) -> None:
    """Creates every missing topic, and refuses to go on where one has another number of partitions."""
    from worker.kafka.topics import TopicsError, create_missing

    settings = with_embedded_stack(load())
    try:
        made = _loop(create_missing(settings))
    except (TopicsError, OSError) as problem:
        fail(str(problem))
    show(as_json, {"created": made}, f"created: {', '.join(made)}" if made else "every topic is there")


def version_command(as_json: AsJson = False) -> None:
    """Shows the version of the program, of the schema it brings, and of the broker and database it is connected to."""
    found: dict[str, Any] = {"settlement": version("partial-settlement")}
    settings = load()
    if not settings.embedded or _stack_is_up(settings):
        found |= _loop(_peers(with_embedded_stack(settings)))
    show(as_json, found, "\n".join(f"{name:<11} {value}" for name, value in found.items()))


def _stack_is_up(settings: Settings) -> bool:
    try:
        from worker.stack import status
    except ModuleNotFoundError:  # installed without the extra `local`
        return False
    return all(look.accepting for look in status(settings.settlement_home))


async def _peers(settings: Settings) -> dict[str, Any]:
    from worker.kafka.topics import broker_version
    from worker.postgres.migrations import applied_version, server_version

    return {
        "schema": await applied_version(settings.database),
        "database": await server_version(settings.database),
        "broker": await broker_version(settings),
    }


def _loop(work: Coroutine[Any, Any, Result]) -> Result:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def show(as_json: bool, data: object, text: str) -> None:
    """Prints for a program or for a person."""
    sys.stdout.write((json.dumps(data) if as_json else text) + "\n")


def fail(sentence: str) -> NoReturn:
    """One sentence on standard error, and exit code 1."""
    Console(stderr=True, highlight=False).print(f"settlement: {sentence}", markup=False, soft_wrap=True)
    raise SystemExit(FAILED)
