"""The command line: the one place that knows which room stands behind which command."""

import sys
from importlib import import_module
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

COMMANDS = {
    "demo": "worker.sandbox.demo:demo_command",
    "ledger": "worker.run:ledger_command",
    "delivery": "worker.run:delivery_command",
    "migrate": "worker.run:migrate_command",
    "topics": "worker.run:topics_command",
    "order": "worker.ledger.commands:order_command",
    "commands": "worker.delivery.commands:commands_app",
    "audit": "worker.ledger.commands:audit_command",
    "rebuild": "worker.ledger.commands:rebuild_command",
    "stack": "worker.stack.commands:stack_app",
    "sandbox": "worker.sandbox.commands:sandbox_app",
    "version": "worker.run:version_command",
}

FAILED, USAGE = 1, 2


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
    from worker.settings import SettingsError

    try:
        app()
    except SettingsError as problem:
        _end(problem, USAGE)
    except Exception as problem:
        stack = sys.modules.get("worker.stack.errors")  # loaded only where the embedded stack is used
        if stack is None or not isinstance(problem, stack.StackError):
            raise
        _end(problem, FAILED)


def _end(problem: Exception, code: int) -> NoReturn:
    sys.stderr.write(f"settlement: {problem}\n")
    raise SystemExit(code) from None
