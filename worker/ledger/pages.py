"""Reads all orders page by page, with the rows that belong to them: memory does not grow with the ledger."""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from worker.postgres.connecting import Connection
from worker.postgres.queries import load

PAGE_ORDERS = 500

_SQL = load("worker.ledger")

Row = Mapping[str, Any]


async def pages_of_orders(connection: Connection) -> AsyncIterator[Sequence[Row]]:
    """The rows of all orders, by their ids."""
    last = ""
    while rows := await connection.fetch(_SQL["page_of_orders"], last, PAGE_ORDERS):
        last = rows[-1]["order_id"]
        yield rows


async def rows_by_order(connection: Connection, query: str, ids: Sequence[str]) -> Mapping[str, list[Row]]:
    """What a query finds for each of these orders; nothing where it finds nothing."""
    found: defaultdict[str, list[Row]] = defaultdict(list)
    for row in await connection.fetch(_SQL[query], ids):
        found[row["order_id"]].append(row)
    return found
