"""The command line: the one place that knows which module implements which command."""

import os
import signal
import sys
from importlib import import_module
from io import BufferedWriter, RawIOBase, TextIOWrapper
from typing import Any, TextIO

import typer
from typer.core import TyperCommand, TyperGroup

from worker.console.help_text import examples, unwrap

WORKERS, LOOK, DECIDE, PREPARE, TRY = "Run", "Look", "Decide", "Prepare", "Try"

# Command: its function, its heading in the help, and its summary there, which is the first sentence of its own help.
COMMANDS = {
    "demo": ("worker.sandbox.demo:demo_command", TRY,
        "Play everything at once against the sandbox: real Kafka, real PostgreSQL, real HTTP."),
    "sandbox": ("worker.sandbox.commands:sandbox_app", TRY,
        "A payment connector and an ERP to try things with."),
    "stack": ("worker.stack.commands:stack_app", TRY,
        "The embedded local stack: a real Kafka and a real PostgreSQL on loopback."),
    "migrate": ("worker.run:migrate_command", PREPARE,
        "Bring the database schema up to date. Several may run at once."),
    "topics": ("worker.run:topics_command", PREPARE,
        "Create every missing topic, and refuse to go on if one has the wrong number of partitions."),
    "ledger": ("worker.run:ledger_command", WORKERS,
        "Run the ledger worker: it consumes invoices, changes and outcomes, decides, and emits commands."),
    "delivery": ("worker.run:delivery_command", WORKERS,
        "Run the delivery worker: it delivers each command to its payment connector, once, whatever the network does."),
    "ops": ("worker.run:ops_command", WORKERS,
        "Run the ops view: pages for people, live from the output topics. OPS_HOST and OPS_PORT say where."),
    "order": ("worker.console.order:order_command", LOOK,
        "Show one order: balances, invoices, timeline, what was asked and what the connector did."),
    "audit": ("worker.console.books:audit_command", LOOK,
        "Check the invariants I1–I9 on the whole database; ends with 1 and a list of findings if one does not hold."),
    "rebuild": ("worker.console.books:rebuild_command", LOOK,
        "Fold the stored facts of every order again, each under its own terms, and compare with what is stored."),
    "version": ("worker.run:version_command", LOOK,
        "Show the version of the program, of the schema it brings, and of the broker and database it is connected to."),
    "commands": ("worker.console.commands:commands_app", DECIDE,
        "Commands that need a person: look, retry, resolve, abandon."),
    "dlq": ("worker.console.dlq:dlq_app", DECIDE,
        "Dead letters: list, show, replay, discard."),
    "recover": ("worker.console.recovery:recover_command", PREPARE,
        "After a restore from a backup older than Kafka: take back what the topics know, before anything is decided."),
}  # fmt: skip

EXAMPLES = {
    "demo": ("settlement demo", "settlement demo --orders 1000 --seed 7", "settlement demo --json"),
    "migrate": ("settlement migrate",),
    "topics": ("settlement topics", "TOPIC_PREFIX=test. settlement topics"),
    "ledger": ("settlement ledger", "OPS_PORT=9100 settlement ledger"),
    "delivery": ("settlement delivery", "OPS_PORT=9101 settlement delivery"),
    "ops": ("settlement ops", "OPS_PORT=8080 OPS_TOKEN_FILE=/run/secrets/ops settlement ops"),
    "order": ("settlement order O-1001", "settlement order O-1001 --explain", "settlement order O-1001 --json"),
    "audit": ("settlement audit", "settlement audit --json"),
    "rebuild": ("settlement rebuild --check",),
    "recover": ("settlement recover --dry-run", "settlement recover"),
    "version": ("settlement version", "settlement version --json"),
    "stack up": ("settlement stack up", "SETTLEMENT_HOME=/tmp/trial settlement stack up"),
    "stack down": ("settlement stack down",),
    "stack status": ("settlement stack status", "settlement stack status --json"),
    "stack env": ("settlement stack env", "settlement stack env --json"),
    "stack kafka": ("settlement stack kafka console-consumer --topic settlement.events.v1 --from-beginning",),
    "sandbox connector": ("settlement sandbox connector", "settlement sandbox connector --port 8081 --fault error=0.1"),
    "sandbox erp": ("settlement sandbox erp", "settlement sandbox erp --orders 1000 --per-second 50"),
}


class LazyGroup(TyperGroup):
    """Imports a command's module only when the command is run: what is not used costs nothing and cannot fail."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the signature is typer's
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - the signature is typer's
        """Returns the command as the list shows it, without importing its module."""
        if cmd_name not in COMMANDS:
            return None
        _, heading, summary = COMMANDS[cmd_name]
        return TyperCommand(cmd_name, help=summary, rich_help_panel=heading)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Imports and returns the command itself."""
        name, listed, rest = super().resolve_command(ctx, args)
        return name, _command(args[0]) if listed is not None else None, rest


def _command(name: str) -> Any:
    place, heading, _ = COMMANDS[name]
    module, attribute = place.split(":")
    typer_app: Any = getattr(import_module(module), attribute)
    if not isinstance(typer_app, typer.Typer):
        function, typer_app = typer_app, typer.Typer(add_completion=False, rich_markup_mode="rich")
        typer_app.command(name=name)(function)
    command: Any = typer.main.get_command(typer_app)
    for subname, one in {"": command, **getattr(command, "commands", {})}.items():
        one.help = unwrap(one.help or "")
        one.epilog = one.epilog or examples(*EXAMPLES.get(f"{name} {subname}".strip(), ()))
    command.name = name
    command.rich_help_panel = heading
    return command


app = typer.Typer(cls=LazyGroup, no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False)


@app.callback(epilog=examples("settlement demo", "settlement stack up", "settlement order O-1001 --explain"))
def _settlement() -> None:
    """Partial settlement: captures exactly what is invoiced, voids what became cheaper, refunds what comes back.

    Settings come from the environment; without those for Kafka and PostgreSQL the embedded local stack is used.

    Exit codes: 0 done, 1 failed, 2 wrong usage or settings. NO_COLOR=1 switches colours off.
    """


def _refuse_invalid_utf8(arguments: list[str]) -> None:
    """No id, name or message of ours holds such bytes, and neither PostgreSQL nor Kafka accepts them."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            from worker.console.problems import USAGE, fail

            fail(f"{argument} is not text: it holds bytes that are not UTF-8", USAGE)


def main(arguments: list[str] | None = None) -> None:
    """Runs the program. An error that a person can do something about is one sentence, not a traceback."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] in (["ledger"], ["delivery"]):
        _hold_signals()
    _open_closed_streams()
    sys.stdout, sys.stderr = _complete(sys.stdout), _complete(sys.stderr)
    try:
        _refuse_invalid_utf8(given)
        app(given)
    except Exception as problem:
        from worker.console.error_messages import message_and_exit_code
        from worker.console.problems import fail

        if (message := message_and_exit_code(problem)) is None:
            raise
        try:
            sys.stdout.flush()
        except OSError:
            _discard_output()
        fail(*message)


def _hold_signals() -> None:
    """Blocks signals until the worker handles them: an earlier one would kill it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP, signal.SIGTERM])


def _open_closed_streams() -> None:
    """Opens /dev/null in place of closed standard streams.

    Else the next file or socket would get such a descriptor, and the event loop aborts when it has to close that one.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def _complete(stream: TextIO) -> TextIO:
    """The stream, so that nothing written to it is lost.

    What the terminal's encoding cannot write is escaped. An unbuffered stream (PYTHONUNBUFFERED) is buffered for each
    line: else Python drops the rest of what the system writes in part, as Linux does to a pipe after uvloop has run.
    """
    if not isinstance(stream, TextIOWrapper):
        return stream
    if isinstance(stream.buffer, RawIOBase):
        encoding = stream.encoding
        stream = TextIOWrapper(BufferedWriter(stream.detach()), encoding, line_buffering=True)
    stream.reconfigure(errors="backslashreplace")
    return stream


def _discard_output() -> None:
    """Redirects standard output to /dev/null: else the interpreter would try at exit to write the rest once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
