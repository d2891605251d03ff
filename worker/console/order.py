"""`settlement order`: one order as a person reads it."""

from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import Console

from worker.console.problems import fail
from worker.console.running import AsJson, run
from worker.console.screen import cell, moment, out, show, show_json, table
from worker.domain.money import to_major
from worker.ledger.checking import snapshot
from worker.people.orders import OrderPage, read_order
from worker.settings import Settings, load, with_embedded_stack

_SUMS = ("authorized", "settled", "settling", "refunded", "refunding", "voided", "voiding", "open")

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
    async with snapshot(settings) as connection:
        return await read_order(connection, order_id)


def show_order(console: Console, page: OrderPage, explain: bool) -> None:
    """Draws the page."""
    currency = page.state["currency"] if page.state else None
    amount: Amount = (lambda minor: to_major(minor, currency)) if currency else str
    if page.state:
        _show_state(console, page.state, amount)
    else:
        show(console, "the order has not been authorized yet")
    _section(console, "timeline", ("#", "at", "what", "why"), [
        (str(one["sequence"]), one["at"], one["type"], one["reason"]) for one in page.timeline
    ])  # fmt: skip
    _section(console, "asked of connectors", ("asked", "on payment", "#", "answers", "became", "done", "operation"), [
        _request(one, amount) for one in page.requests
    ])  # fmt: skip
    _section(console, "waiting", ("waits for", "record", "gives up"), [
        (one["waits_for"], _place(one), moment(one["expires_at"]) or "never") for one in page.parked
    ])  # fmt: skip
    if explain:
        _section(console, "entries", ("fact", "read from", "amount", "from", "to", "payment", "rule", "command"), [
            (f"{one['fact']} {one['kind']}", _place(one) if one["topic"] else "the clock", amount(one["amount"]),
             one["debit"], one["credit"], one["payment_id"], one["rule"], one["command_id"])
            for one in page.entries
        ])  # fmt: skip


def _show_state(console: Console, state: Json, amount: Amount) -> None:
    mode = state["mode"] or "mode not decided yet"
    show(console, f"order {state['orderId']} of {state['merchant']}, {mode}: {state['status']}")
    show(console, f"value {amount(state['value'])} {state['currency']}, invoiced {amount(state['invoiced'])}, "
         f"returned {amount(state['returned'])}, waiting {amount(state['waiting'])}")  # fmt: skip
    _section(console, "payments", ("payment", "connector", *_SUMS), [
        (one["paymentId"], one["connector"], *(amount(one[name]) for name in _SUMS)) for one in state["payments"]
    ])  # fmt: skip
    _section(console, "invoices", ("invoice", "type", "value", "excess", "done", "status"), [
        (one["invoiceNumber"], one["type"], *(amount(one[name]) for name in ("value", "excess", "done")), one["status"])
        for one in state["invoices"]
    ])  # fmt: skip
    for one in state["attention"]:
        what = one["invoiceNumber"] or one["settleId"] or one["commandId"] or ""
        show(console, cell(f"needs a person: {one['code']} {amount(one['amount'])} {what}", "yellow"))


def _request(one: Json, amount: Amount) -> tuple[str, ...]:
    answers = " ".join(str(sent["status"] or sent["fate"] or "?") for sent in one["sent"])
    done = "" if one["done"] is None else amount(one["done"])
    return (
        f"{one['operation']} {amount(one['value'])}", one["payment_id"], str(one["sequence"]),
        answers or "not yet", one["state"] or "on its way", done, one["operation_id"] or "",
    )  # fmt: skip


def _section(console: Console, title: str, heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    if rows:
        console.print()
        console.print(table(heads, rows, title=title, right=(*_SUMS, "value", "excess", "done", "amount", "#")))


def _place(one: Json) -> str:
    return f"{one['topic']}[{one['partition']}]@{one['offset']}"
