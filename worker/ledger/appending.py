"""Rows that are only ever added, few or many at once."""

from collections.abc import Mapping, Sequence
from typing import Any

from worker.postgres.queries import load
from worker.postgres.together import Together

TABLES = {
    "payments": (
        "payment_id", "order_id", "connector", "currency", "authorized", "cap", "settled", "settling", "refunded",
        "refunding", "voided", "voiding", "lapsed",
    ),
    "commands": ("command_id", "request_id", "order_id", "payment_id", "sequence", "operation", "value"),
    "facts": ("order_id", "sequence", "fate", "fact", "terms", "topic", "partition", "offset", "decided_at"),
    "events": ("order_id", "sequence", "message"),
    "entries": (
        "chain", "place", "order_id", "fact", "payment_id", "debit", "credit", "amount", "currency", "rule",
        "command_id", "hash",
    ),
}  # fmt: skip
# COPY takes a third of the time that arrays take, but two round trips for each table; so many rows pay for them.
FEW_ROWS = 64

_SQL = load("worker.ledger")
Row = tuple[Any, ...]


async def append(connection: Any, writes: Together, rows: Mapping[str, Sequence[Row]]) -> None:
    """A table's name → its new rows. Few join the other writes; many go by COPY, at once."""
    many = sum(map(len, rows.values())) > FEW_ROWS
    for table, names in TABLES.items():
        if many and rows[table]:
            await connection.copy_records_to_table(table, records=rows[table], columns=names)
        else:
            writes.add_rows(_SQL[f"add_{table}"], rows[table])
