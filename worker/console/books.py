"""`settlement audit | rebuild`: are the books right, and do the facts say the same."""

from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from worker.connector.book import BookError
from worker.connector.file import Connector, ConnectorsFileError
from worker.connector.file import load as read_file
from worker.console.problems import FAILED, USAGE, fail
from worker.console.running import AsJson, progress, run
from worker.console.screen import cell, number, out, show, show_json, table
from worker.embedded import with_embedded_stack
from worker.ledger.checking import run_audit, run_rebuild
from worker.settings import Settings, load

Connectors = Annotated[
    list[str] | None,
    typer.Option("--connector", metavar="NAME_OR_URL", help="Compare with its own book (GET /book), to the cent."),
]


def audit_command(connector: Connectors = None, as_json: AsJson = False) -> NoReturn:
    """Check the invariants I1–I9 on the whole database; ends with 1 and a list of findings if one does not hold.

    Reads one snapshot, so it may run beside the workers. A connector whose own book can be read, like the
    sandbox's, is compared payment by payment; what is in flight may already stand in it or not.
    """
    settings = with_embedded_stack(load())
    books = _books(settings, connector or [])
    with progress("orders checked") as told:
        try:
            verdict = run(run_audit(settings, told, books))
        except BookError as problem:
            fail(str(problem))
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


def _books(settings: Settings, wanted: list[str]) -> dict[str, str]:
    """Name → address, by the connectors file."""
    if not wanted:
        return {}
    if settings.connectors_file is None:
        fail("--connector needs CONNECTORS_FILE, which says where connectors are", USAGE)
    known = {one.name: one.url for one in _connectors(settings.connectors_file)}
    by_url = {url: name for name, url in known.items()}
    found = {}
    for one in wanted:
        name = by_url.get(one.rstrip("/"), one)
        if name not in known:
            fail(
                f"{one} is neither a connector nor the url of one in CONNECTORS_FILE; it names {', '.join(known)}",
                USAGE,
            )
        found[name] = known[name]
    return found


def _connectors(path: Path) -> list[Connector]:
    try:
        return list(read_file(path).connectors.values())
    except ConnectorsFileError as problem:
        fail(f"CONNECTORS_FILE: {problem}", USAGE)


def _show_audit(verdict: dict[str, Any]) -> None:
    console = out()
    console.print(table(("", "promise", ""), [
        (one["invariant"], one["promise"],
         cell(f"{one['broken']} broken", "red") if one["broken"] else cell("holds", "green"))
        for one in verdict["invariants"]
    ]))  # fmt: skip
    for one in verdict["findings"]:
        show(console, cell(f"{one['invariant']}: ", "red"), one["finding"])
    for one in verdict["connectors"]:
        sums = ", ".join(f"{name} {value:,}" for name, value in one["book"].items())
        says = cell("disagrees", "red") if one["differences"] else cell("agrees", "green")
        show(console, f"the book of {one['connector']} ({number(one['payments'], 'payment')}, {sums}) ", says)
    looked_at = ", ".join(f"{count:,} {name}" for name, count in verdict["checked"].items() if count)
    show(console, cell(f"looked at {looked_at or 'an empty ledger'}", "dim"))
