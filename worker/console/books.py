"""`settlement audit` checks the invariants of the books, `settlement rebuild` folds the facts again and compares."""

from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from worker.connector.book import BookError
from worker.connector.file import Connector, ConnectorsFileError
from worker.connector.file import load as read_file
from worker.console.problems import FAILED, USAGE, fail
from worker.console.running import AsJson, progress, run
from worker.console.screen import cell, out, pluralize, show, show_json
from worker.console.tables import show_table
from worker.embedded import with_embedded_stack
from worker.ledger.checking import run_audit, run_rebuild
from worker.settings import Settings, load

Connectors = Annotated[
    list[str] | None,
    typer.Option("--connector", metavar="NAME_OR_URL", help="Compare with the book that a sandbox keeps (GET /book)."),
]


def audit_command(connector: Connectors = None, as_json: AsJson = False) -> NoReturn:
    """Check the invariants I1–I9 on the whole database; ends with 1 and a list of findings if one does not hold.

    Reads one snapshot, so it may run beside the workers. A connector whose own book can be read, like the
    sandbox's, is compared payment by payment; what is in flight may already stand in it or not.
    """
    settings = with_embedded_stack(load())
    books = _books(settings, connector or [])
    with progress("orders checked") as report:
        try:
            verdict = run(run_audit(settings, report, books))
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
    with progress("orders folded") as report:
        verdict = run(run_rebuild(with_embedded_stack(load()), report))
    if as_json:
        show_json(verdict)
    else:
        console = out()
        counted = f"{pluralize(verdict['facts'], 'fact')} of {pluralize(verdict['orders'], 'order')} folded again: "
        show(console, counted, cell("the same, entry by entry", "green") if verdict["ok"]
             else cell(pluralize(verdict["differing"], "difference"), "red"))  # fmt: skip
        for sentence in verdict["differences"]:
            show(console, sentence)
    raise SystemExit(0 if verdict["ok"] else FAILED)


def _books(settings: Settings, wanted: list[str]) -> dict[str, str]:
    """Returns name → url of the connectors that `--connector` names by either."""
    if not wanted:
        return {}
    if settings.connectors_file is None:
        fail("--connector needs CONNECTORS_FILE, which says where connectors are", USAGE)
    known = {connector.name: connector.url for connector in _connectors(settings.connectors_file)}
    by_url = {url: name for name, url in known.items()}
    books = {}
    for name_or_url in wanted:
        name = by_url.get(name_or_url.rstrip("/"), name_or_url)
        if name not in known:
            names = ", ".join(known)
            fail(f"{name_or_url} is neither a connector nor the url of one in CONNECTORS_FILE; it names {names}", USAGE)
        books[name] = known[name]
    return books


def _connectors(path: Path) -> list[Connector]:
    try:
        return list(read_file(path).connectors.values())
    except ConnectorsFileError as problem:
        fail(f"CONNECTORS_FILE: {problem}", USAGE)


def _show_audit(verdict: dict[str, Any]) -> None:
    console = out()
    show_table(console, ("", "", "promise"), [
        (row["invariant"], cell(f"{row['broken']} broken", "red") if row["broken"] else cell("holds", "green"),
         row["promise"])
        for row in verdict["invariants"]
    ])  # fmt: skip
    for finding in verdict["findings"]:
        show(console, cell(f"{finding['invariant']}: ", "red"), finding["finding"])
    for book in verdict["connectors"]:
        sums = ", ".join(f"{name} {value:,}" for name, value in book["book"].items())
        result = cell("disagrees", "red") if book["differences"] else cell("agrees", "green")
        show(console, f"the book of {book['connector']} ({pluralize(book['payments'], 'payment')}, {sums}) ", result)
    looked_at = ", ".join(_count(name, count) for name, count in verdict["checked"].items() if count)
    show(console, cell(f"looked at {looked_at or 'an empty ledger'}", "dim"))


def _count(plural: str, count: int) -> str:
    """`1 entry`, `1 order`, `12,000 orders`."""
    return f"{count:,} {plural}" if count != 1 else f"1 {'entry' if plural == 'entries' else plural.removesuffix('s')}"
