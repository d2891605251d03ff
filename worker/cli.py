"""The command line: the one place that knows which room stands behind which command."""

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

COMMANDS = {
    "demo": "worker.sandbox.demo:demo_command",
    "ledger": "worker.run:ledger_command",
    "delivery": "worker.run:delivery_command",
    "ops": "worker.run:ops_command",
    "migrate": "worker.run:migrate_command",
    "topics": "worker.run:topics_command",
    "order": "worker.console.order:order_command",
    "commands": "worker.console.commands:commands_app",
    "audit": "worker.console.books:audit_command",
    "rebuild": "worker.console.books:rebuild_command",
    "stack": "worker.stack.commands:stack_app",
    "sandbox": "worker.sandbox.commands:sandbox_app",
    "version": "worker.run:version_command",
}


class LazyGroup(TyperGroup):
    """Imports a command's room only when it is asked for: what is not used costs nothing and cannot fail."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the signature is typer's
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - the signature is typer's
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name].split(":")
        found: Any = getattr(import_module(module), attribute)
        if not isinstance(found, typer.Typer):
            one = typer.Typer(add_completion=False)
            one.command(name=cmd_name)(found)
            found = one
        command = typer.main.get_command(found)
        command.name = cmd_name
        return command


app = typer.Typer(cls=LazyGroup, no_args_is_help=True, rich_markup_mode="rich")


@app.callback()
def _settlement() -> None:
    """Partial settlement: captures exactly what is invoiced, voids what became cheaper, refunds what comes back.

    Without settings for Kafka and PostgreSQL the embedded local stack is used (`settlement stack up`).
    """


def main() -> None:
    """The program. What a person can mend is one sentence, not a traceback."""
    try:
        app()
    except BaseException as problem:
        from worker.console.problems import fail, sentence_for

        if (said := sentence_for(problem)) is None:
            raise
        fail(*said)
