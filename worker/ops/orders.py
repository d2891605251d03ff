"""The pages of orders: the live list, the search by id, and one order with everything about it."""

import heapq
import sys
from collections.abc import Iterable
from datetime import datetime

from aiohttp import web
from yarl import URL

from worker.ops import charts
from worker.ops.query import filters, paged
from worker.ops.row import Row
from worker.ops.site import Site
from worker.ops.words import STATUSES
from worker.people.needs import find_needs
from worker.people.orders import read_order

FOUND_MAX = 50
LATEST_MAX = 200
LIVE_STATUSES = frozenset(STATUSES) - {"finished", "canceled"}


async def orders_page(site: Site, request: web.Request) -> web.Response:
    """Live orders, latest change first; with `q`, all orders whose id begins with it."""
    wanted = filters(request, "q", "status", "merchant", "connector")
    if wanted["q"]:
        return await _search(site, request, wanted["q"])
    rows = _filtered(site.view.rows.data.values(), wanted)
    page, pages, entries = paged(request, len(rows))
    return site.show(
        request, "orders.html", wanted=wanted, found=None, total=len(rows), page=page, first=entries.start,
        rows=heapq.nlargest(entries.stop, rows, key=_changed_at)[entries],
        pages=pages, merchants=site.view.totals.merchants(), connectors=site.view.totals.connectors(),
    )  # fmt: skip


async def order_page(site: Site, request: web.Request) -> web.Response:
    """Everything about one order; the latest `LATEST_MAX` of each list, or the whole lists with `all`."""
    order_id = request.query.get("id", "")
    async with site.reader.snapshot() as connection:
        page = await read_order(connection, order_id)
        needing = await find_needs(connection, order_id=order_id)
    state = page.state
    payments = state["payments"] if state else []
    return site.show(
        request, "order.html", order_id=order_id, page=page, state=state,
        whole=charts.authorization(payments), bars=[(one, charts.authorization([one])) for one in payments],
        steps=charts.money_steps(page),
        needing=needing.latest, currency=state["currency"] if state else None,
        most=sys.maxsize if "all" in request.query else LATEST_MAX,
    )  # fmt: skip


async def _search(site: Site, request: web.Request, beginning: str) -> web.Response:
    """Searches all orders, whatever else was chosen."""
    if "\0" in beginning:
        found = []
    else:
        async with site.reader.snapshot() as connection:
            found = await site.reader.rows(connection, "find_orders", beginning, FOUND_MAX)
    if [order["order_id"] for order in found] == [beginning]:
        raise web.HTTPSeeOther(URL("/order").with_query(id=beginning))
    wanted = {"q": beginning, "status": "", "merchant": "", "connector": ""}
    return site.show(request, "orders.html", wanted=wanted, found=found, most=FOUND_MAX, merchants=[], connectors=[])


def _filtered(rows: Iterable[Row], wanted: dict[str, str]) -> list[Row]:
    """Without a status: the live orders. A function call for each of 100,000 rows would take too long."""
    status, merchant, connector = wanted["status"], wanted["merchant"], wanted["connector"]
    statuses = {status} if status else LIVE_STATUSES
    rows = [row for row in rows if row.state is not None and (status == "all" or row.state.status in statuses)]
    if merchant:
        rows = [row for row in rows if row.state is not None and row.state.merchant == merchant]
    if connector:
        rows = [
            row for row in rows if row.state and any(payment.connector == connector for payment in row.state.payments)
        ]
    return rows


def _changed_at(row: Row) -> datetime:
    assert row.state is not None
    return row.state.updated_at
