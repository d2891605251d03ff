"""Several statements that write, in one round trip: a cycle of one record is mostly waiting for the database's replies.

Each becomes a part of one WITH. All of them see the tables as they were before the first, and no two may touch the
same row.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from worker.postgres.connecting import Connection
from worker.postgres.values import columns

# One for each combination of statements that a cycle can have; there are some dozens.
_COMPOSED_MAX = 512
_PARAMETER = re.compile(r"\$(\d+)")


class StatementBatch:
    """Statements with their parameters, gathered until they are executed."""

    def __init__(self) -> None:
        self._statements: list[str] = []
        self._arguments: list[Any] = []

    def add(self, statement: str, *arguments: Any) -> None:
        """Adds a statement."""
        self._statements.append(statement)
        self._arguments += arguments

    def add_rows(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """Adds a statement that takes rows as the arrays of their columns, if there are rows."""
        if rows:
            self.add(statement, *columns(rows))

    def add_array(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """Adds a statement that takes rows as one array, if there are rows."""
        if rows:
            self.add(statement, rows)

    def clear(self) -> None:
        """Drops what was gathered."""
        self._statements, self._arguments = [], []

    async def execute(self, connection: Connection) -> None:
        """Everything that was gathered, at once."""
        if self._statements:
            await connection.execute(*self._taken())

    async def fetch(self, connection: Connection, statement: str, *arguments: Any) -> Any:
        """Everything that was gathered, and one statement whose rows are returned."""
        self.add(statement, *arguments)
        return await connection.fetch(*self._taken())

    def _taken(self) -> tuple[Any, ...]:
        statements, arguments = tuple(self._statements), self._arguments
        self._statements, self._arguments = [], []
        return _composed(statements), *arguments


@lru_cache(_COMPOSED_MAX)
def _composed(statements: tuple[str, ...]) -> str:
    """The last one's rows are the result; the parameters are numbered through."""
    numbered: list[str] = []
    before = 0
    for statement in statements:
        numbered.append(_shifted(statement, before))
        before += max(map(int, _PARAMETER.findall(statement)), default=0)
    *others, last = numbered
    parts = ",\n".join(f"part_{place} AS (\n{statement}\n)" for place, statement in enumerate(others))
    return f"WITH {parts}\n{last}" if others else last


def _shifted(statement: str, by: int) -> str:
    return _PARAMETER.sub(lambda found: f"${int(found[1]) + by}", statement)
