"""Reads from the tables what the topics do not say, over read-only sessions."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from asyncpg import Pool

from worker.postgres.connecting import Connection, read_only_pool
from worker.postgres.queries import load

SESSIONS_MAX = 4

_SQL = load("worker.ops")


class Reader:
    """A small pool of read-only sessions; a page reads all it needs in one snapshot."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool: Pool[Any] | None = None

    async def start(self) -> None:
        """Creates the pool, which connects at the first query: so the view starts without its database too."""
        self._pool = await read_only_pool(self._url, name="settlement-ops", role="settlement_ops", size=SESSIONS_MAX)

    async def stop(self) -> None:
        if self._pool is not None:
            self._pool.terminate()

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Connection]:
        """Opens a read-only transaction that sees one state of the database."""
        assert self._pool is not None
        async with self._pool.acquire() as connection, connection.transaction(
            isolation="repeatable_read", readonly=True
        ):  # fmt: skip
            yield connection

    async def rows(self, connection: Connection, query: str, *arguments: Any) -> list[dict[str, Any]]:
        """Returns the rows of a query of `reading.sql`, by its name."""
        return [dict(row) for row in await connection.fetch(_SQL[query], *arguments)]
