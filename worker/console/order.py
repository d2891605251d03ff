"""`settlement order`: shows one order, from its balances to what the connector did."""

from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import groupby
from shlex import quote
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from worker.console.explaining import show_entries
from worker.console.running import AsJson, run
from worker.console.screen import STYLES, Cell, cell, moment, out, show, show_json
from worker.console.selection import not_empty
from worker.console.tables import show_table
from worker.domain.money import to_major
from worker.embedded import with_embedded_stack
from worker.people.money import PARTS, authorization_parts
from worker.people.orders import OrderPage, place, read_order
from worker.people.wording import OPERATIONS, describe_status
from worker.postgres.snapshot import snapshot
from worker.settings import Settings, load

BAR_CELLS = 40
# Part of an authorization → colour, character.
BLOCKS = {
    "settled": ("green", "█"), "settling": ("yellow", "▓"), "refunding": ("yellow", "▓"), "refunded": ("magenta", "█"),
    "voiding": ("yellow", "▒"), "voided": ("bright_black", "▒"), "lapsed": ("red", "░"), "open": ("blue", "░"),
}  # fmt: skip

# What an amount hangs on, the most telling first.
ATTENTION_SUBJECTS = {"invoiceNumber": "invoice", "settleId": "settlement", "commandId": "command"}

Json = dict[str, Any]
Amount = Callable[[int], str]


def order_command(
    order_id: Annotated[str, typer.Argument(metavar="ID", callback=not_empty, help="The order's id.")],
    explain: Annotated[bool, typer.Option("--explain", help="Where each cent came from.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show one order: balances, invoices, timeline, what was asked and what the connector did."""
    page = run(_page(with_embedded_stack(load()), order_id))
    if as_json:
        show_json(page.as_json(explain))
    else:
        show_order(out(), page, explain)


async def _page(settings: Settings, order_id: str) -> OrderPage:
    async with snapshot(settings.database, name="settlement-order") as connection:
        return await read_order(connection, order_id)


def show_order(console: Console, page: OrderPage, explain: bool) -> None:
    currency = page.state["currency"] if page.state else None
    amount: Amount = (lambda minor: to_major(minor, currency)) if currency else str
    if page.state:
        _show_state(console, page.state, amount)
    else:
        show(console, cell(f"order {page.order_id}", "bold"), " is named by messages, but was not authorized yet")
    _section(console, "timeline", ("#", "when", "what", "why"), [
        (str(event["sequence"]), _clock(event["at"]), event["type"], event["reason"]) for event in page.timeline
    ])  # fmt: skip
    for payment_id, requests in groupby(page.requests, key=lambda request: request["payment_id"]):
        title = f"what was asked of payment {payment_id}, and what the connector did"
        _section(console, title, ("#", "asked", "attempts", "became"), [
            row for request in requests for row in _request_rows(request, amount)
        ])  # fmt: skip
    _section(console, "waits for something", ("waits for", "record", "gives up"), [
        (record["waits_for"], place(record), moment(record["expires_at"]) or "never") for record in page.parked
    ])  # fmt: skip
    _section(console, "went no further", ("dead letter", "reason", "status", "says"), [
        (str(letter["id"]), cell(letter["reason"], "yellow"), describe_status(letter["topic"], letter["status"]),
         letter["message"])
        for letter in page.dead_letters
    ])  # fmt: skip
    _section(console, "what people decided", ("when", "who", "what", "why"), [
        (moment(act["at"]), act["decided_by"], _act(act), act["reason"]) for act in page.acts
    ])  # fmt: skip
    if explain:
        show_entries(console, page, amount)


def _show_state(console: Console, state: Json, amount: Amount) -> None:
    status = cell(state["status"], STYLES.get(state["status"], "bold"))
    mode = state["mode"] or "mode not decided yet"
    show(console, cell(f"order {state['orderId']}", "bold"), f" of {state['merchant']}, {mode}: ", status)
    labels = {
        "invoiced": "invoiced", "returned": "returned", "waiting": "waiting", "refundsWaiting": "refunds waiting",
    }  # fmt: skip
    sums = [f"{label} {amount(state[name])}" for name, label in labels.items() if state[name] or name == "invoiced"]
    show(console, f"value {amount(state['value'])} {state['currency']}, {', '.join(sums)}")
    for entry in state["attention"]:
        subjects = [f" for {label} {entry[name]}" for name, label in ATTENTION_SUBJECTS.items() if entry[name]]
        subject = subjects[0] if subjects else ""
        show(console, cell(f"needs a person: {entry['code']} {amount(entry['amount'])}{subject}", "bold yellow"))
    if state["attention"]:
        show(
            console,
            cell(f"`settlement commands list --order {quote(state['orderId'])}` shows what may be decided", "dim"),
        )
    for payment in state["payments"]:
        console.print()
        _show_payment(console, payment, amount)
    _section(console, "invoices", ("invoice", "type", "value", "excess", "done", "status"), [
        (invoice["invoiceNumber"], invoice["type"],
         *(amount(invoice[name]) for name in ("value", "excess", "done")), invoice["status"])
        for invoice in state["invoices"]
    ])  # fmt: skip


def _show_payment(console: Console, payment: Json, amount: Amount) -> None:
    """Shows how much of the authorization is used up, as a bar and in words."""
    flags = [name for name in ("frozen", "lapsed") if payment[name]]
    show(console, cell(f"payment {payment['paymentId']}", "bold"), f" by {payment['connector']}, authorized "
         f"{amount(payment['authorized'])}", cell("".join(f", {flag}" for flag in flags), "yellow"))  # fmt: skip
    parts = authorization_parts([payment])
    bar, amounts = Text("  "), list[Cell]()
    for name, label in PARTS.items():
        if value := parts[name]:
            style, block = BLOCKS[name]
            bar.append(block * max(1, round(BAR_CELLS * value / parts.total())), style=style)
            amounts += [cell(f"{label} {amount(value)}", style), "  "]
    console.print(bar)
    show(console, "  ", *amounts)


def _request_rows(request: Json, amount: Amount) -> Iterator[tuple[Cell, ...]]:
    """Yields a row for each attempt: what was asked stands in the first, what became of it in the last."""
    cause = f" for {request['cause']}" if request["cause"] else ""
    asked = f"{OPERATIONS[request['operation']]} {amount(request['value'])}{cause}"
    state = request["state"] or "on its way"
    operation = f" as {request['operation_id']}" if request["operation_id"] else ""
    done = f" {amount(request['done'])}" if request["done"] else ""
    latest = next((sent["code"] for sent in reversed(request["sent"]) if sent["code"]), None)
    why = f": {latest}" if latest and state not in ("succeeded", "resolved") else ""
    became = cell(f"{state}{done}{operation}{why}", STYLES.get(state, ""))
    attempts = request["sent"] or [None]
    for number, attempt in enumerate(attempts):
        first, last = number == 0, attempt is attempts[-1]
        yield (
            str(request["sequence"]) if first else "", asked if first else "",
            _attempt(attempt) if attempt else "not sent yet", became if last else "",
        )  # fmt: skip


def _attempt(attempt: Json) -> str:
    status = f"HTTP {attempt['status']}" if attempt["status"] else ""
    became = attempt["fate"] or "no result written down"
    return " ".join(filter(None, (f"{attempt['begun_at']:%H:%M:%S}", status, became)))


def _act(act: Json) -> str:
    subject = act["command_id"] or act["invoice_number"] or act["settle_id"] or f"dead letter {act['dead_letter']}"
    return f"{act['action']} {subject}"


def _section(console: Console, title: str, heads: tuple[str, ...], rows: list[tuple[Cell, ...]]) -> None:
    if rows:
        console.print()
        show_table(console, heads, rows, title=title, right=("value", "excess", "done", "#", "dead letter"))


def _clock(at: str) -> str:
    """An RFC 3339 time as day and time, to the second."""
    return f"{datetime.fromisoformat(at):%m-%d %H:%M:%S}"
