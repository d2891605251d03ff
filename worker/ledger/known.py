"""Looks up records of the ledger's own topics in its tables: commands by id, events by content, states by version."""

from collections.abc import Sequence
from typing import Any

from worker.kafka import names
from worker.kafka.envelope import id_of, split_id
from worker.kafka.records import Record
from worker.postgres.connecting import Connection
from worker.postgres.queries import load
from worker.postgres.values import columns

_SQL = load("worker.ledger")


async def first_unknown(connection: Connection, records: Sequence[Record]) -> Record | None:
    """The first of these records that our tables do not know; records without an id of ours are passed over."""
    asked: dict[str, list[tuple[Any, ...]]] = {"unknown_commands": [], "unknown_events": [], "unknown_states": []}
    for place, record in enumerate(records):
        if record.topic == names.COMMANDS:
            order_id = (record.key or b"").decode("utf-8", "replace")
            asked["unknown_commands"].append((place, order_id, id_of(record)))
        elif record.topic == names.EVENTS and (event := split_id(record)):
            asked["unknown_events"].append((place, *event, record.value or b""))
        elif record.topic == names.ORDERS and (state := split_id(record, "/v")):
            asked["unknown_states"].append((place, *state))
    unknown: list[int] = []
    for query, rows in asked.items():
        if rows:
            unknown += [row["place"] for row in await connection.fetch(_SQL[query], *columns(rows))]
    return records[min(unknown)] if unknown else None
