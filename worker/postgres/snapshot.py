"""A look at the whole database at one moment, however long the look takes and whatever workers do meanwhile."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from worker.postgres.connecting import UNLIMITED, Connection, connected
from worker.postgres.migrations import require_current


@asynccontextmanager
async def snapshot(url: str, *, name: str) -> AsyncIterator[Connection]:
    """One unchanging view of the ledger's tables, in which nothing can be written."""
    limits = {"statement_timeout": UNLIMITED, "idle_in_transaction_session_timeout": UNLIMITED}
    async with connected(url, name=name, schema="ledger", **limits) as connection:
        await require_current(connection)
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield connection
