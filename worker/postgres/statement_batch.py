"""Several writing statements in one round trip: a cycle of one record mostly waits for the database's replies.

They become parts of one WITH. All see the tables as they were before the first, and no two may touch the same row.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from worker.postgres.connecting import Connection
from worker.postgres.values import columns

# One for each combination of statements in a cycle; there are some dozens.
_COMPOSED_MAX = 512
_PARAMETER = re.compile(r"\$(\d+)")


class StatementBatch:
    """Statements and their arguments, collected until they are executed."""

    def __init__(self) -> None:
        self._statements: list[str] = []
        self._arguments: list[Any] = []

    def add(self, statement: str, *arguments: Any) -> None:
        """Adds a statement; its parameters count from $1."""
        self._statements.append(statement)
        self._arguments += arguments

    def add_rows(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """Adds a statement that takes rows as one array for each column, if there are rows."""
        if rows:
            self.add(statement, *columns(rows))

    def add_array(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """Adds a statement that takes rows as one array, if there are rows."""
        if rows:
            self.add(statement, rows)

    def clear(self) -> None:
        """Drops what was added."""
        self._statements, self._arguments = [], []

    async def execute(self, connection: Connection) -> None:
        """Executes everything that was added, at once."""
        if self._statements:
            await connection.execute(*self._taken())

    async def fetch(self, connection: Connection, statement: str, *arguments: Any) -> Any:
        """Executes everything that was added and one more statement, whose rows it returns."""
        self.add(statement, *arguments)
        return await connection.fetch(*self._taken())

    def _taken(self) -> tuple[Any, ...]:
        statements, arguments = tuple(self._statements), self._arguments
        self._statements, self._arguments = [], []
        return _composed(statements), *arguments


@lru_cache(_COMPOSED_MAX)
def _composed(statements: tuple[str, ...]) -> str:
    """One statement of all, which returns the rows of the last one; parameters are numbered through."""
    numbered: list[str] = []
    before = 0
    for statement in statements:
        numbered.append(_shifted(statement, before))
        before += max(map(int, _PARAMETER.findall(statement)), default=0)
    *others, last = numbered
    parts = ",\n".join(f"part_{index} AS (\n{statement}\n)" for index, statement in enumerate(others))
    return f"WITH {parts}\n{last}" if others else last


def _shifted(statement: str, by: int) -> str:
    return _PARAMETER.sub(lambda match: f"${int(match[1]) + by}", statement)
