"""`settlement stack up | down | status | env | kafka`."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from worker import stack
from worker.settings import load

FAILED = 1

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

stack_app = typer.Typer(
    name="stack", help="The embedded local stack: a real Kafka and a real PostgreSQL on loopback.", no_args_is_help=True
)


@stack_app.command()
def up() -> None:
    """Start what does not run; returns when both accept connections."""
    with _one_sentence():
        env = stack.up(load().home, say=_tell)
        _tell(f"Kafka accepts connections at {env.bootstrap_servers}, PostgreSQL at {env.database_url.split('@')[1]}.")
        _tell('Point your shell at them with: eval "$(settlement stack env)"')


@stack_app.command()
def down() -> None:
    """Stop this home's broker and database; their data stays."""
    with _one_sentence():
        stack.down(load().home)


@stack_app.command()
def status(as_json: AsJson = False) -> None:
    """What runs, where it listens and where its data lies."""
    with _one_sentence():
        home = load().home
        looks = stack.status(home)
    if as_json:
        typer.echo(json.dumps({look.service: look.as_dict() for look in looks}, indent=2))
        return
    table = Table("service", "state", "address", "pid", box=None)
    for look in looks:
        state = "accepting" if look.accepting else "not answering" if look.running else "down"
        table.add_row(look.service, state, look.address, str(look.pid or ""))
    Console().print(table)
    typer.echo(f"Data and logs: {home}")


@stack_app.command()
def env(as_json: AsJson = False) -> None:
    """Print the settings that point at the running stack, ready for `eval`."""
    with _one_sentence():
        found = stack.environment(load().home)
    if as_json:
        typer.echo(json.dumps(found.as_settings(), indent=2))
    else:
        typer.echo(found.as_exports(), nl=False)


@stack_app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def kafka(
    context: typer.Context, tool: Annotated[str, typer.Argument(help=f"One of {', '.join(stack.TOOLS)}.")]
) -> None:
    """Run one of Kafka's own tools against the local broker; every further option is the tool's."""
    if tool not in stack.TOOLS:
        raise typer.BadParameter(f"{tool} is none of {', '.join(stack.TOOLS)}")
    with _one_sentence():
        command = stack.kafka_tool(load().home, tool, context.args)
    os.execv(command[0], command)  # noqa: S606 - it takes this process's place, with its terminal and its signals


@contextmanager
def _one_sentence() -> Iterator[None]:
    try:
        yield
    except stack.StackError as problem:
        _tell(str(problem))
        raise typer.Exit(FAILED) from None


def _tell(sentence: str) -> None:
    """For the person; standard output is for programs."""
    typer.echo(sentence, err=True)
