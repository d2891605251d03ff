"""Database logins that have one role and no other right."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg


@asynccontextmanager
async def login(url: str, role: str) -> AsyncIterator[str]:
    """Creates a login, yields the database's address for it, and drops it."""
    name, password = f"login_{secrets.token_hex(4)}", secrets.token_hex(8)
    owner = await asyncpg.connect(url)
    await owner.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}' IN ROLE {role}")
    try:
        parts = urlsplit(url)
        yield parts._replace(netloc=f"{name}:{password}@{parts.hostname}:{parts.port}").geturl()
    finally:
        await owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", name)
        await owner.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")
        await owner.close()
