"""`settlement order`: one order as a person reads it, from its balances to what the connector did."""

from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import groupby
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from worker.console.explaining import show_entries
from worker.console.problems import fail
from worker.console.running import AsJson, run
from worker.console.screen import Cell, cell, moment, out, plain, show, show_json, table
from worker.domain.money import to_major
from worker.embedded import with_embedded_stack
from worker.people.orders import OrderPage, place, read_order
from worker.postgres.snapshot import snapshot
from worker.settings import Settings, load

BAR_CELLS = 40
# What became of an authorization, in the order in which the bar shows it, and how.
PARTS = (
    ("settled", "green", "█"), ("settling", "yellow", "▓"), ("voided", "bright_black", "▒"),
    ("voiding", "yellow", "▒"), ("open", "blue", "░"),
)  # fmt: skip
STATUSES = {"attention": "red", "finished": "green", "canceled": "bright_black"}
STATES = {"succeeded": "green", "declined": "yellow", "manual": "yellow", "suspect": "red", "unknown": "red"}

Json = dict[str, Any]
Amount = Callable[[int], str]


def order_command(
    order_id: Annotated[str, typer.Argument(metavar="ID", help="The order's id.")],
    explain: Annotated[bool, typer.Option("--explain", help="Where each cent came from.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show one order: balances, invoices, timeline, what was asked and what the connector did."""
    page = run(_page(with_embedded_stack(load()), order_id))
    if page is None:
        fail(f"no order {order_id} is known")
    if as_json:
        show_json(page.as_json(explain))
    else:
        show_order(out(), page, explain)


async def _page(settings: Settings, order_id: str) -> OrderPage | None:
    async with snapshot(settings.database, name="settlement-order") as connection:
        return await read_order(connection, order_id)


def show_order(console: Console, page: OrderPage, explain: bool) -> None:
    """Draws the page."""
    currency = page.state["currency"] if page.state else None
    amount: Amount = (lambda minor: to_major(minor, currency)) if currency else str
    if page.state:
        _show_state(console, page.state, amount)
    else:
        show(console, cell(f"order {page.order_id}", "bold"), " is named by messages, but was not authorized yet")
    _section(console, "timeline", ("#", "when", "what", "why"), [
        (str(one["sequence"]), _clock(one["at"]), one["type"], one["reason"]) for one in page.timeline
    ])  # fmt: skip
    for payment_id, requests in groupby(page.requests, key=lambda one: one["payment_id"]):
        title = f"what was asked of payment {payment_id}, and what the connector did"
        _section(console, title, ("#", "asked", "attempts", "became"), [
            row for one in requests for row in _requested(one, amount)
        ])  # fmt: skip
    _section(console, "waits for something", ("waits for", "record", "gives up"), [
        (one["waits_for"], place(one), moment(one["expires_at"]) or "never") for one in page.parked
    ])  # fmt: skip
    _section(console, "went no further", ("dead letter", "reason", "status", "says"), [
        (str(one["id"]), cell(one["reason"], "yellow"), one["status"], one["message"]) for one in page.dead_letters
    ])  # fmt: skip
    _section(console, "what people decided", ("when", "who", "what", "why"), [
        (moment(one["at"]), one["decided_by"], _decided(one), one["reason"]) for one in page.acts
    ])  # fmt: skip
    if explain:
        show_entries(console, page, amount)


def _show_state(console: Console, state: Json, amount: Amount) -> None:
    status = cell(state["status"], STATUSES.get(state["status"], "bold"))
    mode = state["mode"] or "mode not decided yet"
    show(console, cell(f"order {state['orderId']}", "bold"), f" of {state['merchant']}, {mode}: ", status)
    sums = ("invoiced", "returned", "waiting", "refundsWaiting")
    named = {"refundsWaiting": "refunds waiting"}
    others = [f"{named.get(one, one)} {amount(state[one])}" for one in sums if state[one] or one == "invoiced"]
    show(console, f"value {amount(state['value'])} {state['currency']}, {', '.join(others)}")
    for one in state["attention"]:
        what = one["invoiceNumber"] or one["settleId"] or one["commandId"] or ""
        show(console, cell(f"needs a person: {one['code']} {amount(one['amount'])} {what}", "bold yellow"))
    for payment in state["payments"]:
        console.print()
        _show_payment(console, payment, amount)
    _section(console, "invoices", ("invoice", "type", "value", "excess", "done", "status"), [
        (one["invoiceNumber"], one["type"], *(amount(one[name]) for name in ("value", "excess", "done")), one["status"])
        for one in state["invoices"]
    ])  # fmt: skip


def _show_payment(console: Console, payment: Json, amount: Amount) -> None:
    """How much of the authorization is used up, as a bar and in words."""
    flags = [name for name in ("frozen", "lapsed") if payment[name]]
    show(console, cell(f"payment {payment['paymentId']}", "bold"), f" by {payment['connector']}, authorized "
         f"{amount(payment['authorized'])}", cell("".join(f", {one}" for one in flags), "yellow"))  # fmt: skip
    whole = max(sum(payment[name] for name, *_ in PARTS), 1)
    bar, said = Text("  "), list[Cell]()
    for name, style, block in PARTS:
        if payment[name]:
            bar.append(block * max(1, round(BAR_CELLS * payment[name] / whole)), style=style)
            said += [cell(f"{name} {amount(payment[name])}", style), "  "]
    said += [f"{name} {amount(payment[name])}  " for name in ("refunded", "refunding") if payment[name]]
    console.print(bar)
    show(console, "  ", *said)


def _requested(one: Json, amount: Amount) -> Iterator[tuple[Cell, ...]]:
    """One line for each time it was sent; what was asked stands beside the first, what it became beside the last."""
    cause = f" for {one['cause']}" if one["cause"] else ""
    asked = f"{one['operation']} {amount(one['value'])}{cause}"
    state = one["state"] or "on its way"
    operation = f" as {one['operation_id']}" if one["operation_id"] else ""
    done = f" {amount(one['done'])}" if one["done"] else ""
    became = cell(f"{state}{done}{operation}", STATES.get(state, ""))
    sent = one["sent"] or [None]
    for number, attempt in enumerate(sent):
        first, last = number == 0, attempt is sent[-1]
        yield (
            str(one["sequence"]) if first else "", asked if first else "",
            _attempt(attempt) if attempt else "not sent yet", became if last else "",
        )  # fmt: skip


def _attempt(one: Json) -> str:
    status = f"HTTP {one['status']}" if one["status"] else ""
    became = one["fate"] or "no result written down"
    return " ".join(filter(None, (f"{one['begun_at']:%H:%M:%S}", status, became)))


def _decided(one: Json) -> str:
    about = one["command_id"] or one["invoice_number"] or one["settle_id"] or f"dead letter {one['dead_letter']}"
    return f"{one['action']} {about}"


def _section(console: Console, title: str, heads: tuple[str, ...], rows: list[tuple[Cell, ...]]) -> None:
    if rows:
        console.print()
        console.print(table(heads, rows, title=plain(title), right=("value", "excess", "done", "#", "dead letter")))


def _clock(at: str) -> str:
    """RFC 3339 as a person reads it; the day and the second are enough."""
    return f"{datetime.fromisoformat(at):%m-%d %H:%M:%S}"
