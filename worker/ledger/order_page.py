"""One order as a person reads it: where its money is, what happened, what was asked and what the connector did."""

from collections.abc import Callable, Sequence
from typing import Any

import asyncpg
import msgspec
import orjson
from msgspec import Struct
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from worker.domain.money import to_major
from worker.domain.order import Order
from worker.domain.published import order_state
from worker.postgres.queries import load

_SQL = load("worker.ledger")
_SUMS = ("authorized", "settled", "settling", "refunded", "refunding", "voided", "voiding", "open")

Json = dict[str, Any]


class OrderPage(Struct, frozen=True):
    """Everything that is known of one order."""

    state: Json | None
    """None: only facts that wait for the order have come."""
    timeline: list[Json]
    requests: list[Json]
    parked: list[Json]
    entries: list[Json]

    def as_json(self, explain: bool) -> Json:
        """For programs; `explain` adds where each cent came from."""
        found: Json = {"order": self.state, "timeline": self.timeline, "requests": self.requests, "parked": self.parked}
        return found | ({"entries": self.entries} if explain else {})


async def read_order(connection: "asyncpg.Connection[asyncpg.Record]", order_id: str) -> OrderPage | None:
    """The order's page, or None where nothing ever named it."""
    row = await connection.fetchrow(_SQL["order_document"], order_id)
    if row is None:
        return None
    order = msgspec.json.decode(row["document"], type=Order) if row["document"] else Order(order_id)
    attempts = [dict(one) for one in await connection.fetch(_SQL["order_attempts"], order_id)]
    requests = [dict(one) for one in await connection.fetch(_SQL["order_requests"], order_id)]
    for one in requests:
        one["sent"] = [attempt for attempt in attempts if attempt["command_id"] == one["command_id"]]
    return OrderPage(
        order_state(order) if order.opened else None,
        [orjson.loads(one["message"]) for one in await connection.fetch(_SQL["order_events"], order_id)],
        requests,
        [dict(one) for one in await connection.fetch(_SQL["order_parked"], order_id)],
        [_entry(one) for one in await connection.fetch(_SQL["order_entries"], order_id)],
    )


def show_order(console: Console, page: OrderPage, explain: bool) -> None:
    """Prints the page."""
    currency = page.state["currency"] if page.state else None
    amount: Callable[[int], str] = (lambda minor: to_major(minor, currency)) if currency else str
    if page.state:
        _show_state(console, page.state, amount)
    else:
        console.print("the order has not been authorized yet")
    _show_table(console, ("#", "at", "what", "why"), [
        (str(one["sequence"]), one["at"], one["type"], one["reason"]) for one in page.timeline
    ])  # fmt: skip
    _show_table(console, ("asked", "on payment", "", "sent", "became", "done", "operation"), [_request(one, amount)
                for one in page.requests])  # fmt: skip
    _show_table(console, ("waits for", "record", "gives up"), [
        (one["waits_for"], _place(one), one["expires_at"].isoformat() if one["expires_at"] else "never")
        for one in page.parked
    ])  # fmt: skip
    if explain:
        _show_table(console, ("fact", "read from", "amount", "from", "to", "payment", "rule", "command"), [
            (f"{one['fact']} {one['kind']}", _place(one) if one["topic"] else "the clock", amount(one["amount"]),
             one["debit"], one["credit"], one["payment_id"], one["rule"], one["command_id"])
            for one in page.entries
        ])  # fmt: skip


def _show_state(console: Console, state: Json, amount: Callable[[int], str]) -> None:
    mode = state["mode"] or "mode not decided yet"
    console.print(f"order {state['orderId']} of {state['merchant']}, {mode}: {state['status']}", markup=False)
    console.print(
        f"value {amount(state['value'])} {state['currency']}, invoiced {amount(state['invoiced'])}, "
        f"returned {amount(state['returned'])}, waiting {amount(state['waiting'])}"
    )
    _show_table(console, ("payment", "connector", *_SUMS), [
        (one["paymentId"], one["connector"], *(amount(one[name]) for name in _SUMS)) for one in state["payments"]
    ])  # fmt: skip
    _show_table(console, ("invoice", "type", "value", "excess", "done", "status"), [
        (one["invoiceNumber"], one["type"], *(amount(one[name]) for name in ("value", "excess", "done")), one["status"])
        for one in state["invoices"]
    ])  # fmt: skip
    for one in state["attention"]:
        what = one["invoiceNumber"] or one["settleId"] or one["commandId"] or ""
        console.print(f"needs a person: {one['code']} {amount(one['amount'])} {what}", markup=False)


def _request(one: Json, amount: Callable[[int], str]) -> tuple[str, ...]:
    answers = " ".join(str(sent["status"] or sent["fate"] or "?") for sent in one["sent"])
    done = "" if one["done"] is None else amount(one["done"])
    return (
        f"{one['operation']} {amount(one['value'])}", one["payment_id"], str(one["sequence"]),
        answers or "not yet", one["state"] or "on its way", done, one["operation_id"] or "",
    )  # fmt: skip


def _show_table(console: Console, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if not rows:
        return
    table = Table(*heads, box=None)
    for row in rows:
        table.add_row(*map(escape, row))
    console.print()
    console.print(table)


def _place(one: Json) -> str:
    return f"{one['topic']}[{one['partition']}]@{one['offset']}"


def _entry(row: Any) -> Json:
    names = ("fact", "payment_id", "debit", "credit", "amount", "rule", "command_id", "topic", "partition", "offset")
    return {name: row[name] for name in names} | {"kind": orjson.loads(row["body"])["fact"]}
