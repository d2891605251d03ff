"""`settlement recover`: takes back what Kafka knows after a restore from a backup, before a worker starts."""

from typing import Annotated

import typer

from worker.console.running import AsJson, progress, run
from worker.console.screen import cell, out, show, show_json
from worker.embedded import with_embedded_stack
from worker.recovery.recovery import run_recovery
from worker.settings import load

SENTENCES = {
    "facts": "facts were folded again, in the order in which they had been applied",
    "commands": "commands were taken over from their topic",
    "forgotten": "commands that their topic no longer has were taken over from the ledger",
    "unpublished": "records that had not reached Kafka, and states of orders, will be published",
    "outcomes": "outcomes were booked without sending anything",
    "decisions": "decisions of people were taken back",
    "dead_letters": "dead letters were taken back",
    "uncertain": "commands without an outcome will be asked again, under their request ids",
}


def recover_command(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and fold, and change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """After a restore from a backup older than Kafka: take back what the topics know, before anything is decided.

    Stop all workers first. It is one transaction: if it is stopped half way nothing has happened, and a second run
    finds nothing left to take back. Then start the workers: what was sent and has no outcome is asked again.
    """
    with progress("records read") as report:
        summary = run(run_recovery(with_embedded_stack(load()), report, dry_run=dry_run))
    if as_json:
        counts = {name: summary[name] for name in SENTENCES}
        show_json({"dry_run": dry_run, **counts, "warnings": summary.warnings})
        return
    for name, sentence in SENTENCES.items():
        show(out(), f"{summary[name]:>9,} {sentence}")
    for warning in summary.warnings:
        show(out(), cell(warning, "yellow"))
    if dry_run:
        show(out(), cell("nothing was changed", "dim"))
    else:
        show(out(), cell("the database knows what Kafka knows; the workers may start", "green"))
