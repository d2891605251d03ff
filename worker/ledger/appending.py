"""Adds rows to the append-only tables: a few by INSERT, many by COPY."""

import re
from collections.abc import Mapping, Sequence

from worker.ledger.rows import Row
from worker.postgres.connecting import Connection
from worker.postgres.queries import load
from worker.postgres.statement_batch import StatementBatch

# In the order that their foreign keys require.
TABLES = ("payments", "commands", "facts", "events", "entries")
# Above this many rows COPY is faster: it takes a third of the time of arrays, but two round trips per table.
FEW_ROWS = 64

_SQL = load("worker.ledger")
_NAMES = re.compile(r"INSERT INTO \w+ \(([^)]+)\)")


def _columns(table: str) -> list[str]:
    """The columns that the table's INSERT names."""
    named = _NAMES.match(_SQL[f"add_{table}"])
    assert named is not None, f"add_{table} does not name its columns"
    return [name.strip().strip('"') for name in named[1].split(",")]


_COLUMNS = {table: _columns(table) for table in TABLES}


async def append(connection: Connection, writes: StatementBatch, rows: Mapping[str, Sequence[Row]]) -> None:
    """Adds rows, by table name: a few join the pending `writes`, many are copied at once."""
    many = sum(map(len, rows.values())) > FEW_ROWS
    for table, names in _COLUMNS.items():
        if many and rows[table]:
            await connection.copy_records_to_table(table, records=rows[table], columns=names)
        else:
            writes.add_rows(_SQL[f"add_{table}"], rows[table])
