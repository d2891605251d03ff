"""The commands that run the workers, migrate the database, create topics and show versions."""

import contextlib
import platform
import resource
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NoReturn

from worker.console.problems import fail
from worker.console.running import AsJson, run
from worker.console.screen import out, show, show_json
from worker.embedded import with_embedded_stack
from worker.settings import Settings, load

if TYPE_CHECKING:
    from worker.stream.control import Control
    from worker.stream.cycle import Handler


def ledger_command() -> None:
    """Run the ledger worker: it consumes invoices, changes and outcomes, decides, and emits commands.

    Runs until SIGTERM, then drains and ends with 0.
    """
    from worker.ledger.handler import LedgerHandler

    _run_worker(LedgerHandler)


def delivery_command() -> None:
    """Run the delivery worker: it delivers each command to its payment connector, once, whatever the network does.

    Runs until SIGTERM, then lets what is in flight finish and ends with 0.
    """
    _allow_open_files()
    from worker.delivery.handler import DeliveryHandler

    _run_worker(DeliveryHandler)


def ops_command() -> None:
    """Run the ops view: pages for people, live from the output topics. OPS_HOST and OPS_PORT say where.

    On loopback it is open to whoever works on this machine; elsewhere it asks for OPS_TOKEN (may decide) or
    OPS_VIEW_TOKEN (may look). Runs until SIGTERM, then ends with 0.
    """
    try:
        from worker.ops.runner import run_ops
    except ModuleNotFoundError as missing:
        fail(f"{missing.name} is not installed: `pip install partial-settlement[ops]` brings what the view needs")
    raise SystemExit(run(run_ops(with_embedded_stack(load()))))


def _allow_open_files() -> None:
    """Raises the limit on open files to the most allowed: connectors that hang would soon use up the default."""
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # some systems name a hard limit that they do not grant
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))


def _run_worker(factory: "Callable[[Control], Handler]") -> NoReturn:
    from worker.stream.runner import run_worker

    settings = with_embedded_stack(load())
    settings.require_both()
    raise SystemExit(run(run_worker(settings, factory)))


def migrate_command(as_json: AsJson = False) -> None:
    """Bring the database schema up to date. Several may run at once."""
    from worker.postgres.migrations import migrate

    applied = run(migrate(with_embedded_stack(load()).database))
    text = f"applied: {', '.join(applied)}" if applied else "the schema is up to date"
    _show_result(as_json, {"applied": applied}, text)


def topics_command(as_json: AsJson = False) -> None:
    """Create every missing topic, and refuse to go on if one has the wrong number of partitions."""
    from worker.kafka.topics import create_missing

    created = run(create_missing(with_embedded_stack(load())))
    _show_result(as_json, {"created": created}, f"created: {', '.join(created)}" if created else "every topic is there")


def version_command(as_json: AsJson = False) -> None:
    """Show the version of the program, of the schema it brings, and of the broker and database it is connected to."""
    from worker.postgres.migrations import migrations

    versions: dict[str, Any] = {
        "settlement": version("partial-settlement"), "python": platform.python_version(),
        "schema": migrations()[-1].number,
    }  # fmt: skip
    if not as_json:
        _show_lines(versions)  # known also while a server is away
    settings, servers = load(), dict[str, Any]()
    if not settings.embedded or _stack_is_up(settings):
        servers = run(_server_versions(with_embedded_stack(settings)))
    if as_json:
        show_json(versions | servers)
    else:
        _show_lines(servers)


def _show_lines(values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        show(out(), f"{name.replace('_', ' '):<16}{value}")


def _stack_is_up(settings: Settings) -> bool:
    try:
        from worker.stack import status
    except ModuleNotFoundError:  # installed without the extra `local`
        return False
    return all(look.accepting for look in status(settings.home))


async def _server_versions(settings: Settings) -> dict[str, Any]:
    from worker.kafka.connecting import describe_cluster
    from worker.postgres.migrations import applied_version, server_version

    return {
        "schema_applied": await applied_version(settings.database),
        "database": f"PostgreSQL {await server_version(settings.database)}",
        "broker": await describe_cluster(settings),
    }


def _show_result(as_json: bool, data: object, text: str) -> None:
    if as_json:
        show_json(data)
    else:
        show(out(), text)
