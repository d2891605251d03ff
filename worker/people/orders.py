"""One order as a person reads it: where its money is, what happened, what was asked and what the connector did."""

from collections import defaultdict
from itertools import groupby
from operator import itemgetter
from typing import Any

import orjson
from msgspec import Struct

from worker.domain.kept import decode_order
from worker.domain.order import Order
from worker.domain.published import order_state
from worker.people.acting import NotFoundError
from worker.postgres.connecting import Connection
from worker.postgres.queries import load

_SQL = load("worker.people")
_ENTRY = ("fact", "payment_id", "debit", "credit", "amount", "rule", "command_id", "topic", "partition", "offset",
          "decided_at")  # fmt: skip

Json = dict[str, Any]


class OrderPage(Struct, frozen=True):
    """Everything known of one order."""

    order_id: str
    state: Json | None
    """None: only facts that wait for the order have come, or refused ones."""
    items: list[Json]
    """The items of invoices and changes, as they came (R10, R17)."""
    tracking: dict[str, Json]
    """The tracking fields of each invoice that has some (R11)."""
    timeline: list[Json]
    requests: list[Json]
    """What was asked, each with what was `sent` and answered."""
    parked: list[Json]
    dead_letters: list[Json]
    acts: list[Json]
    """What people did about it."""
    entries: list[Json]
    """Where each cent came from."""

    def entries_by_fact(self) -> list[list[Json]]:
        """The entries that each fact made."""
        return [list(made) for _, made in groupby(self.entries, key=itemgetter("fact"))]

    def as_json(self, explain: bool) -> Json:
        """For programs; `explain` adds where each cent came from."""
        found: Json = {
            "order": self.state, "items": self.items, "tracking": self.tracking, "timeline": self.timeline,
            "requests": self.requests, "parked": self.parked, "dead_letters": self.dead_letters, "acts": self.acts,
        }  # fmt: skip
        return found | ({"entries": self.entries} if explain else {})


def place(one: Json) -> str:
    """Topic, partition and offset of a row's record; a fact caused by time has none."""
    return f"{one['topic']}[{one['partition']}]@{one['offset']}" if one["topic"] else "the clock"


async def read_order(connection: Connection, order_id: str) -> OrderPage:
    """The order's page; raises `NotFoundError` where no fact has named it. Call inside one snapshot."""
    # No id has a U+0000, and the database takes none.
    row = await connection.fetchrow(_SQL["order_document"], order_id) if "\0" not in order_id else None
    if row is None:
        raise NotFoundError(f"no order {order_id} is known")
    order = decode_order(row["document"]) if row["document"] else Order(order_id)
    sent: defaultdict[str, list[Json]] = defaultdict(list)
    for attempt in await _rows(connection, "order_attempts", order_id):
        sent[attempt["command_id"]].append(attempt)
    requests = await _rows(connection, "order_requests", order_id)
    for one in requests:
        one["sent"] = sent[one["command_id"]]
        command = order.commands.get(one["command_id"])
        one["cause"] = f"{command.cause_kind} {command.cause_id}" if command else None
    return OrderPage(
        order_id,
        order_state(order) if order.opened else None,
        [_about(one) | {"items": one["items"]} for one in await connection.fetch(_SQL["order_items"], order_id)],
        {one.number: one.tracking for one in order.invoices.values() if one.tracking},
        [orjson.loads(one["message"]) for one in await connection.fetch(_SQL["order_events"], order_id)],
        requests,
        await _rows(connection, "order_parked", order_id),
        await _rows(connection, "order_dead_letters", order_id),
        await _rows(connection, "acts_on_order", order_id),
        [_entry(one) for one in await connection.fetch(_SQL["order_entries"], order_id)],
    )


async def _rows(connection: Connection, query: str, order_id: str) -> list[Json]:
    return [dict(one) for one in await connection.fetch(_SQL[query], order_id)]


def _entry(row: Any) -> Json:
    return {name: row[name] for name in _ENTRY} | _about(row)


def _about(row: Any) -> Json:
    """The kind of a fact, and what it is about."""
    fact = orjson.loads(row["body"])
    about = fact.get("invoice_number") or fact.get("request_id") or fact.get("settle_id") or fact.get("command_id")
    return {"kind": fact["fact"], "about": about}
