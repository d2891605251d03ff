"""The list of orders, page by page."""

from types import SimpleNamespace
from typing import Any

import msgspec

from tests.pages import client_of_pages
from worker.domain.order import Order
from worker.domain.published import order_state
from worker.ops.query import PAGE_ENTRIES
from worker.ops.row import DECODERS, Row
from worker.ops.totals import Totals
from worker.settings import load

PLACES = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "DATABASE_URL": "postgresql://u:p@127.0.0.1:9/d"}


def view_of(orders: int) -> Any:
    states = (order_state(Order(f"o{number}", merchant="shop", currency="USD", value=1)) for number in range(orders))
    rows = {number: Row(DECODERS["state"](msgspec.json.encode(state))) for number, state in enumerate(states)}
    return SimpleNamespace(totals=Totals.of(rows.values()), incomplete_reason=lambda: None,
                           rows=SimpleNamespace(data=rows))  # fmt: skip


async def orders_page(orders: int, page: str) -> str:
    async with (
        client_of_pages(load(PLACES), None, view_of(orders)) as client,
        client.get("/orders", params={"page": page}) as answer,
    ):
        return await answer.text()


async def test_a_page_beyond_the_end_of_the_list_is_the_last_one():
    """An open page fetches itself again while orders end: it said that no order was live."""
    orders = PAGE_ENTRIES + 2

    for page in ("2", "3", "9999"):
        text = await orders_page(orders, page)
        assert f"{PAGE_ENTRIES + 1} to {orders} of {orders}," in text
        assert "page 2 of 2" in text
    for page in ("", "0", "-1", "x", "9" * 30):
        assert f"1 to {PAGE_ENTRIES} of {orders}," in await orders_page(orders, page)


async def test_an_empty_list_has_one_page():
    assert "Nothing is live" in await orders_page(0, "3")
