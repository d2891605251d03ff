"""`settlement stack up | down | status | env | kafka`."""

import json
import os
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from worker import stack
from worker.settings import load

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

stack_app = typer.Typer(
    name="stack", help="The embedded local stack: a real Kafka and a real PostgreSQL on loopback.", no_args_is_help=True
)


@stack_app.command()
def up() -> None:
    """Start Kafka and PostgreSQL where they do not run; return once both accept connections."""
    env = stack.up(load().home, say=_tell)
    _tell(f"Kafka accepts connections at {env.bootstrap_servers}, PostgreSQL at {env.database_url.split('@')[1]}.")
    _tell('Point your shell at them with: eval "$(settlement stack env)"')


@stack_app.command()
def down() -> None:
    """Stop this home's broker and database; their data stays."""
    stack.down(load().home)


@stack_app.command()
def status(as_json: AsJson = False) -> None:
    """Show what runs, where it listens and where its data is stored."""
    home = load().home
    services = stack.status(home)
    if as_json:
        typer.echo(json.dumps({one.service: one.as_dict() for one in services}, indent=2))
        return
    table = Table("service", "state", "address", "pid", box=None, pad_edge=False)
    for one in services:
        state = "accepting" if one.accepting else "not answering" if one.running else "down"
        table.add_row(one.service, state, one.address, str(one.pid or ""))
    Console().print(table)
    typer.echo(f"Data and logs: {home}")


@stack_app.command()
def env(as_json: AsJson = False) -> None:
    """Print the settings that point at the running stack, ready for `eval`."""
    settings = stack.environment(load().home)
    if as_json:
        typer.echo(json.dumps(settings.as_settings(), indent=2))
    else:
        typer.echo(settings.as_exports(), nl=False)


@stack_app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def kafka(
    context: typer.Context, tool: Annotated[str, typer.Argument(help=f"One of {', '.join(stack.TOOLS)}.")]
) -> None:
    """Run one of Kafka's own tools against the local broker; all further options go to the tool."""
    if tool not in stack.TOOLS:
        raise typer.BadParameter(f"{tool} is not one of {', '.join(stack.TOOLS)}")
    command = stack.kafka_tool(load().home, tool, context.args)
    os.execv(command[0], command)  # noqa: S606 - the tool replaces this process and gets its terminal and its signals


def _tell(sentence: str) -> None:
    """Prints to standard error, for a person; standard output is for programs."""
    typer.echo(sentence, err=True)
