"""Retries all selected commands, and shows what became of each."""

from worker.console.problems import FAILED
from worker.console.running import progress, with_connection
from worker.console.screen import cell, err, out, pluralize, show, show_json
from worker.people.acting import Actor
from worker.people.retrying import CommandFilter, Retry, retry_all

REFUSED_SHOWN_MAX = 50


def retry_selected(wanted: CommandFilter, actor: Actor | None, *, as_json: bool) -> None:
    """Retries all that match, under a progress bar. Without an actor, only shows what would be retried."""
    with progress("decided") as report:
        done = with_connection(lambda connection: retry_all(connection, actor, wanted, report))
    if as_json:
        show_json({
            "would_retry" if actor is None else "retried": done.noted.total(),
            "by_code": [{"need": need, "connector": connector, "code": code, "number": number}
                        for (need, connector, code), number in done.noted.most_common()],
            "decided_before": done.decided_before, "refused": done.refused,
        })  # fmt: skip
    else:
        _show(done, is_dry_run=actor is None)
    if done.refused and actor is not None:
        raise SystemExit(FAILED)


def _show(done: Retry, *, is_dry_run: bool) -> None:
    console, problems, number = out(), err(), pluralize(done.noted.total(), "command")
    counts = ", ".join(
        f"{number:,} {need} of {connector}{f' ({code})' if code else ''}"
        for (need, connector, code), number in done.noted.most_common()
    )
    if is_dry_run:
        show(console, f"would retry {number}{f': {counts}' if counts else ''}; nothing was done")
    else:
        show(console, f"noted; {number} will be asked again: {counts}" if counts else "no command will be asked again")
    if done.decided_before:
        show(console, f"decided before: {done.decided_before:,}; `settlement commands show ID` tells what became of it")
    if done.refused:
        show(problems, cell(f"refused: {len(done.refused):,}", "yellow"))
        for refusal in done.refused[:REFUSED_SHOWN_MAX]:
            show(problems, f"  {refusal.command_id}: {refusal.why}")
        if (more := len(done.refused) - REFUSED_SHOWN_MAX) > 0:
            show(problems, f"  … and {more:,} more; --json shows all")
