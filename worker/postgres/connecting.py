"""How we open sessions with PostgreSQL, and which errors mean that one is lost."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import asyncpg
from asyncpg import Pool, Record
from asyncpg.exceptions import ClientConfigurationError

Connection: TypeAlias = "asyncpg.Connection[Record]"
"""One session with PostgreSQL."""

CONNECT_SECONDS_MAX = 10
# Above statement_timeout: only a network that swallows packets gets this far.
COMMAND_SECONDS_MAX = 45
UNLIMITED = "0"
_WITH_SET = 16
# How the driver, or a server, refuses what a URL sets; no session begins.
_NOT_TAKEN = (
    ClientConfigurationError, asyncpg.UndefinedObjectError, asyncpg.InvalidParameterValueError,
    asyncpg.CantChangeRuntimeParamError,
)  # fmt: skip

_SERVER_SETTINGS = {
    # A frozen worker must not hold its rows, a queue of waiters must not build up behind a lock.
    "idle_in_transaction_session_timeout": "10s",
    "lock_timeout": "4s",
    "statement_timeout": "30s",
    # A killed worker's session ends although a statement of it still runs.
    "client_connection_check_interval": "1s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    # A cycle relies on it: the statement after a lock sees what was committed before.
    "default_transaction_isolation": "read committed",
    # What was published or sent was committed before, also when the server lost its power right after.
    "synchronous_commit": "on",
    # Our statements are written for it.
    "standard_conforming_strings": "on",
    "jit": "off",
    "timezone": "UTC",
}


# Older servers than PostgreSQL 17 have no such setting, and let nobody in who names it.
_NO_TRANSACTION_TIMEOUT = "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'transaction_timeout'"


class DatabaseUrlError(Exception):
    """Where DATABASE_URL points to is there, but not as it asks."""


# The session does not serve us, is closed, or was ended by a server that has not hung up yet.
SESSION_LOST = (
    asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, DatabaseUrlError, OSError,
    TimeoutError,
)  # fmt: skip


async def connect(url: str, *, name: str, schema: str | None = None, **overrides: str) -> Connection:
    """One session; `name` is what `pg_stat_activity` shows, `schema` whose tables unqualified names mean.

    Where the server sets no limit (`statement_timeout="0"`), we set none either.
    """
    server_settings = {**_SERVER_SETTINGS, "application_name": name, **overrides}
    if schema is not None:
        server_settings["search_path"] = schema
    seconds_max = None if server_settings["statement_timeout"] == UNLIMITED else COMMAND_SECONDS_MAX
    connection = await _open(
        url, timeout=CONNECT_SECONDS_MAX, command_timeout=seconds_max, server_settings=server_settings
    )
    if seconds_max is None:
        await connection.execute(_NO_TRANSACTION_TIMEOUT)
    return connection


@asynccontextmanager
async def connected(url: str, *, name: str, schema: str | None = None, **overrides: str) -> AsyncIterator[Connection]:
    """As `connect`; closed at the end."""
    connection = await connect(url, name=name, schema=schema, **overrides)
    try:
        yield connection
    finally:
        await connection.close()


def set_role_privilege(major: int) -> str:
    """What a server of this version calls the right to SET ROLE; before 16 every member had it."""
    return "SET" if major >= _WITH_SET else "MEMBER"


async def read_only_pool(url: str, *, name: str, role: str, size: int) -> "Pool[Record]":
    """Up to `size` sessions that cannot write, with no more rights than `role` where the database has it."""

    async def take_the_role(connection: Connection) -> None:
        right = set_role_privilege(connection.get_server_version().major)
        if await connection.fetchval(
            "SELECT pg_has_role(current_user, oid, $2) FROM pg_roles WHERE rolname = $1", role, right
        ):
            await connection.execute(f'SET ROLE "{role}"')

    return await asyncpg.create_pool(
        url, min_size=0, max_size=size, connect=_open, init=take_the_role, timeout=CONNECT_SECONDS_MAX,
        command_timeout=COMMAND_SECONDS_MAX,
        server_settings={**_SERVER_SETTINGS, "application_name": name, "default_transaction_read_only": "on"},
    )  # fmt: skip


async def _open(url: str, **options: Any) -> Connection:
    try:
        return await asyncpg.connect(url, **options)
    except _NOT_TAKEN as problem:
        raise DatabaseUrlError(f"DATABASE_URL cannot be used: {problem}") from problem
