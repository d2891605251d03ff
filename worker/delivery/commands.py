"""`settlement commands …`: what needs a person, and what a person decides (R39)."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import asyncpg
import typer
from rich.console import Console
from rich.table import Table

from worker.delivery.deciding import objection
from worker.domain.money import to_major
from worker.kafka.murmur2 import partition_of
from worker.postgres.connecting import connect
from worker.postgres.queries import load as load_queries
from worker.settings import Settings, load, with_embedded_stack

FAILED = 1
LISTED_MAX = 500

commands_app = typer.Typer(no_args_is_help=True, help="Commands that need a person: look, retry, resolve, abandon.")
_SQL = load_queries("worker.delivery")

Connection = Any
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
By = Annotated[str, typer.Option("--by", help="Your name; it is kept with the decision.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept with the decision.")]
CommandId = Annotated[str, typer.Argument(metavar="ID", help="The commandId.")]


class Refused(Exception):
    """One sentence: why the decision cannot be taken."""


@commands_app.command("list")
def list_command(
    state: Annotated[str | None, typer.Option(help="manual, suspect, unknown or declined.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the commands that need a person, newest first."""
    rows = _run(lambda connection, _: connection.fetch(_SQL["list_for_people"], state, LISTED_MAX))
    if as_json:
        typer.echo(json.dumps([dict(row) for row in rows], default=str))
        return
    table = Table("command", "order", "payment", "connector", "what", "state", "attempts", "message", box=None)
    for row in rows:
        what = f"{row['operation']} {row['value']}" + (f", {row['done']} done" if row["done"] else "")
        table.add_row(
            row["command_id"], row["order_id"], row["payment_id"], row["connector"], what, row["state"],
            str(row["attempts"]), row["message"] or "",
        )  # fmt: skip
    Console(soft_wrap=True, highlight=False, markup=False).print(table)


@commands_app.command("show")
def show_command(command_id: CommandId, as_json: AsJson = False) -> None:
    """Show one command with its attempts and what people decided about it."""
    row, attempts, decisions = _run(lambda connection, _: _look(connection, command_id))
    data = {name: value for name, value in dict(row).items() if name != "body"}
    data |= {"attempts": [dict(one) for one in attempts], "decisions": [dict(one) for one in decisions]}
    if as_json:
        typer.echo(json.dumps(data, default=str))
        return
    currency = json.loads(row["body"])["currency"]
    console = Console(soft_wrap=True, highlight=False, markup=False)
    console.print(
        f"{row['operation']} {to_major(row['value'], currency)} {currency} on payment {row['payment_id']} of order "
        f"{row['order_id']} by {row['connector']}: {row['state']}"
    )
    for one in attempts:
        ended = f"{one['ended_at']:%H:%M:%S} {one['fate']}" if one["ended_at"] else "no result was written down"
        console.print(
            f"  attempt {one['attempt']} at {one['begun_at']:%Y-%m-%d %H:%M:%S}: {ended} {one['message'] or ''}"
        )
    for one in decisions:
        console.print(f"  {one['decided_by']} decided: {one['action']} ({one['reason']})")


@commands_app.command("retry")
def retry_command(command_id: CommandId, by: By, reason: Reason) -> None:
    """Ask again: a declined or short command as a new one, an unknown or suspect one under the same request id."""

    async def decide(connection: Connection, _: Settings) -> str:
        row = await _command(connection, command_id)
        await _decide(connection, "retry", row, by=by, reason=reason)
        return "will be asked again"

    _decision(decide)


@commands_app.command("resolve")
def resolve_command(
    command_id: CommandId,
    by: By,
    reason: Reason,
    done: Annotated[int | None, typer.Option(min=1, help="It was done, with this value in minor units.")] = None,
    operation_id: Annotated[str | None, typer.Option(help="The connector's id of what was done.")] = None,
    not_done: Annotated[bool, typer.Option("--not-done", help="It was not done, and never will be.")] = False,
) -> None:
    """Close a manual, suspect or unknown command: it was done, or it was not."""
    if not_done == (done is not None) or (done is not None and not operation_id):
        typer.echo("settlement: say either --done VALUE --operation-id X, or --not-done", err=True)
        raise SystemExit(2)

    async def decide(connection: Connection, _: Settings) -> str:
        row = await _command(connection, command_id)
        await _decide(connection, "resolve", row, by=by, reason=reason, value=done or 0, operation_id=operation_id)
        return f"is resolved: {'done' if done else 'not done'}"

    _decision(decide)


@commands_app.command("abandon")
def abandon_command(
    by: By,
    reason: Reason,
    command_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="The commandId.")] = None,
    order: Annotated[str | None, typer.Option(help="The order of a lapsed amount or an automatic settlement.")] = None,
    invoice: Annotated[str | None, typer.Option(help="The invoice whose lapsed amount is given up.")] = None,
    settle_id: Annotated[str | None, typer.Option(help="The suspect automatic settlement that is given up.")] = None,
) -> None:
    """Give up a failed or lapsed amount, or a suspect automatic settlement: it no longer holds the order."""
    amount = order is not None and (invoice is None) != (settle_id is None)
    if (command_id is None) == (not amount) or (command_id and (order or invoice or settle_id)):
        typer.echo("settlement: name ID, or --order O --invoice N, or --order O --settle-id S", err=True)
        raise SystemExit(2)

    async def decide(connection: Connection, settings: Settings) -> str:
        if command_id is not None:
            row = await _command(connection, command_id)
            await _decide(connection, "abandon", row, by=by, reason=reason)
        else:
            row = {"partition": partition_of(str(order), settings.topic_partitions), "order_id": order}
            await _decide(connection, "abandon", row, by=by, reason=reason, invoice=invoice, settle_id=settle_id)
        return "is given up"

    _decision(decide)


async def _command(connection: Connection, command_id: str) -> Any:
    row = await connection.fetchrow(_SQL["show_command"], command_id)
    if row is None:
        raise Refused(f"no command {command_id} is known")
    return row


async def _look(connection: Connection, command_id: str) -> tuple[Any, list[Any], list[Any]]:
    row = await _command(connection, command_id)
    attempts = await connection.fetch(_SQL["show_attempts"], command_id)
    return row, attempts, await connection.fetch(_SQL["show_decisions"], command_id)


async def _decide(
    connection: Connection, action: str, row: Any, *, by: str, reason: str, value: int | None = None,
    operation_id: str | None = None, invoice: str | None = None, settle_id: str | None = None,
) -> None:  # fmt: skip
    """The same call about the same state of a command is written once; typed again after it acted, it is no error."""
    known = dict(row)
    if (command_id := known.get("command_id")) is not None and (
        refusal := objection(action, known["state"], known["done"], known["value"])
    ):
        call = command_id, action, value, operation_id, by, reason
        if await connection.fetchval(_SQL["decided_so_before"], *call):
            return
        raise Refused(refusal)
    await connection.execute(
        _SQL["decide"], action, known["partition"], known["order_id"], command_id, invoice, settle_id,
        known.get("changes"), value, operation_id, by, reason,
    )  # fmt: skip


def _decision(decide: Callable[[Connection, Settings], Awaitable[str]]) -> None:
    typer.echo(f"noted; it {_run(decide)}")


def _run(work: Callable[[Connection, Settings], Awaitable[Any]]) -> Any:
    """Runs some work on a connection; a refusal is one sentence and exit code 1."""
    settings = with_embedded_stack(load())

    async def connected() -> Any:
        connection = await connect(settings.database, name="settlement-commands", schema="delivery")
        try:
            return await work(connection, settings)
        finally:
            await connection.close()

    try:
        return asyncio.run(connected())
    except (Refused, asyncpg.PostgresError, OSError) as problem:
        typer.echo(f"settlement: {problem}", err=True)
        raise SystemExit(FAILED) from None
