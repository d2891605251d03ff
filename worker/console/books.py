"""`settlement audit | rebuild`: are the books right, and do the facts say the same."""

from typing import Annotated, Any, NoReturn

import typer

from worker.console.problems import FAILED, USAGE, fail
from worker.console.running import AsJson, progress, run
from worker.console.screen import cell, number, out, show, show_json, table
from worker.ledger.checking import run_audit, run_rebuild
from worker.settings import load, with_embedded_stack


def audit_command(as_json: AsJson = False) -> NoReturn:
    """Check the invariants I1–I9 on the whole database; ends with 1 and the list where one does not hold.

    Reads one snapshot, so it may run beside the workers.
    """
    with progress("orders checked") as told:
        verdict = run(run_audit(with_embedded_stack(load()), told))
    if as_json:
        show_json(verdict)
    else:
        _show_audit(verdict)
    raise SystemExit(0 if verdict["ok"] else FAILED)


def rebuild_command(
    check: Annotated[bool, typer.Option("--check", help="Compare with what is stored; nothing is changed.")] = False,
    as_json: AsJson = False,
) -> NoReturn:
    """Fold the stored facts of every order again, each under its own terms, and compare with what is stored."""
    if not check:
        fail("nothing was done; `settlement rebuild --check` folds and compares", USAGE)
    with progress("orders folded") as told:
        verdict = run(run_rebuild(with_embedded_stack(load()), told))
    if as_json:
        show_json(verdict)
    else:
        console = out()
        counted = f"{number(verdict['facts'], 'fact')} of {number(verdict['orders'], 'order')} folded again: "
        show(console, counted, cell("the same, entry by entry", "green") if verdict["ok"]
             else cell(number(verdict["differing"], "difference"), "red"))  # fmt: skip
        for sentence in verdict["differences"]:
            show(console, sentence)
    raise SystemExit(0 if verdict["ok"] else FAILED)


def _show_audit(verdict: dict[str, Any]) -> None:
    console = out()
    console.print(table(("", "promise", ""), [
        (one["invariant"], one["promise"],
         cell(f"{one['broken']} broken", "red") if one["broken"] else cell("holds", "green"))
        for one in verdict["invariants"]
    ]))  # fmt: skip
    for one in verdict["findings"]:
        show(console, cell(f"{one['invariant']}: ", "red"), one["finding"])
    looked_at = ", ".join(f"{count:,} {name}" for name, count in verdict["checked"].items() if count)
    show(console, cell(f"looked at {looked_at or 'an empty ledger'}", "dim"))
