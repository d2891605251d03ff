"""A read-only view of the database at one moment, for as long as it is needed, while workers go on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from worker.postgres.connecting import UNLIMITED, Connection, connected
from worker.postgres.migrations import require_current


@asynccontextmanager
async def snapshot(url: str, *, name: str) -> AsyncIterator[Connection]:
    """A session in one read-only snapshot, without time limits; unqualified names are the ledger's tables."""
    limits = {"statement_timeout": UNLIMITED, "idle_in_transaction_session_timeout": UNLIMITED}
    async with connected(url, name=name, schema="ledger", **limits) as connection:
        await require_current(connection)
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield connection
