"""Lists of orders from the live view, any order from the tables, and one order with everything about it."""

import heapq
import sys
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from aiohttp import web
from yarl import URL

from worker.ops import pictures
from worker.ops.row import Row
from worker.ops.site import Site
from worker.ops.words import STATUSES
from worker.people.needs import Need, needs
from worker.people.orders import OrderPage, read_order

PAGE_ORDERS = 50
PAGES_MAX = 200
FOUND_MAX = 50
LATEST_MAX = 200
LIVE = frozenset(STATUSES) - {"finished", "canceled"}


async def orders_page(site: Site, request: web.Request) -> web.Response:
    """Live orders, latest change first; with `q`, any order whose id begins so."""
    wanted = {name: request.query.get(name, "").strip() for name in ("q", "status", "merchant", "connector")}
    if wanted["q"]:
        return await _found(site, request, wanted)
    page = min(PAGES_MAX, max(1, number(request.query.get("page"), 1)))
    rows = _fitting(site.view.rows.data.values(), wanted)
    first = (page - 1) * PAGE_ORDERS
    return site.show(
        request, "orders.html", wanted=wanted, statuses=STATUSES, found=None, total=len(rows), page=page, first=first,
        rows=heapq.nlargest(first + PAGE_ORDERS, rows, key=_last_change)[first:],
        pages=min(PAGES_MAX, -(-len(rows) // PAGE_ORDERS)),
        merchants=sorted({merchant for _, merchant in site.view.totals.money}),
        connectors=sorted({connector for connector, _ in site.view.totals.ways}),
    )  # fmt: skip


async def order_page(site: Site, request: web.Request) -> web.Response:
    """Everything about one order; of what there is thousands of, the latest, and all with `all`."""
    order_id = request.query.get("id", "")
    page, needing = await _read(site, order_id)
    if page is None:
        says = f"Nothing ever named the order {order_id}. Ids are compared letter by letter."
        return site.say(request, 404, "No such order", says)
    state = page.state
    bars = [(one, pictures.authorization(one)) for one in state["payments"]] if state else []
    return site.show(
        request, "order.html", order_id=order_id, page=page, state=state, bars=bars,
        whole=pictures.authorization(_together(state)) if state else [], steps=pictures.steps(page.entries),
        needing=needing, currency=state["currency"] if state else None,
        most=sys.maxsize if "all" in request.query else LATEST_MAX,
    )  # fmt: skip


async def _read(site: Site, order_id: str) -> tuple[OrderPage | None, list[Need]]:
    async with site.reader.snapshot() as connection:
        page = await read_order(connection, order_id)
        return page, await needs(connection, order_id=order_id) if page is not None else []


def number(text: str | None, otherwise: int) -> int:
    """A whole number that somebody typed into an address."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 20 else otherwise


async def _found(site: Site, request: web.Request, wanted: dict[str, str]) -> web.Response:
    if "\0" in wanted["q"]:
        found = []
    else:
        async with site.reader.snapshot() as connection:
            found = await site.reader.rows(connection, "find_orders", wanted["q"], FOUND_MAX)
    if [one["order_id"] for one in found] == [wanted["q"]]:
        raise web.HTTPSeeOther(URL("/order").with_query(id=wanted["q"]))
    return site.show(
        request, "orders.html", wanted=wanted, statuses=STATUSES, found=found, total=len(found), page=1, first=0,
        rows=[], pages=1, merchants=[], connectors=[],
    )  # fmt: skip


def _fitting(rows: Iterable[Row], wanted: dict[str, str]) -> list[Row]:
    """Without a status: what is not at its end. A call for each of 100,000 rows would take too long."""
    status, merchant, connector = wanted["status"], wanted["merchant"], wanted["connector"]
    fits = {status} if status else LIVE
    found = [row for row in rows if row.state is not None and (status == "all" or row.state.status in fits)]
    if merchant:
        found = [row for row in found if row.state is not None and row.state.merchant == merchant]
    if connector:
        found = [row for row in found if row.state and any(one.connector == connector for one in row.state.payments)]
    return found


def _last_change(row: Row) -> datetime:
    assert row.state is not None
    return row.state.updated_at


def _together(state: dict[str, Any]) -> dict[str, Any]:
    """All payments of an order as if they were one."""
    return {**state, "lapsed": all(one["lapsed"] for one in state["payments"])}
