"""Opens sessions with PostgreSQL, and lists the errors by which one is lost."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import asyncpg
from asyncpg import Pool, Record
from asyncpg.exceptions import ClientConfigurationError

Connection: TypeAlias = "asyncpg.Connection[Record]"
"""One session with PostgreSQL."""

CONNECT_SECONDS_MAX = 10
# Longer than statement_timeout, so that it ends a command only if the network drops packets.
COMMAND_SECONDS_MAX = 45
UNLIMITED = "0"
_SET_PRIVILEGE_SINCE = 16
# Errors of the driver or the server about what a URL sets, before a session begins.
_URL_ERRORS = (
    ClientConfigurationError, asyncpg.UndefinedObjectError, asyncpg.InvalidParameterValueError,
    asyncpg.CantChangeRuntimeParamError,
)  # fmt: skip

_SERVER_SETTINGS = {
    # A frozen worker must not keep its row locks, and no queue must build up behind a lock.
    "idle_in_transaction_session_timeout": "10s",
    "lock_timeout": "4s",
    "statement_timeout": "30s",
    # A killed worker's session ends even while a statement runs.
    "client_connection_check_interval": "1s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    # A cycle relies on it: a statement after a lock sees what was committed before the lock was granted.
    "default_transaction_isolation": "read committed",
    # A commit must survive a power failure, since what it holds is published and sent right after.
    "synchronous_commit": "on",
    # Our statements rely on it.
    "standard_conforming_strings": "on",
    "jit": "off",
    "timezone": "UTC",
}


# Servers before PostgreSQL 17 lack this setting, and refuse a session that names it.
_NO_TRANSACTION_TIMEOUT = "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'transaction_timeout'"


class DatabaseUrlError(Exception):
    """The server that DATABASE_URL names is there, but refuses what the URL asks for."""


# The session fails, is closed, or was ended by a server whose connection is still open.
SESSION_LOST = (
    asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, DatabaseUrlError, OSError,
    TimeoutError,
)  # fmt: skip


async def connect(url: str, *, name: str, schema: str | None = None, **overrides: str) -> Connection:
    """Opens a session. `name` is shown in `pg_stat_activity`; unqualified table names are looked up in `schema`.

    With `statement_timeout="0"`, the driver sets no limit either.
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
    """A session from `connect`, closed at the end."""
    connection = await connect(url, name=name, schema=schema, **overrides)
    try:
        yield connection
    finally:
        await connection.close()


def set_role_privilege(major: int) -> str:
    """The name of the privilege to SET ROLE in a server of this version; before 16 every member had it."""
    return "SET" if major >= _SET_PRIVILEGE_SINCE else "MEMBER"


async def read_only_pool(url: str, *, name: str, role: str, size: int) -> "Pool[Record]":
    """A pool of up to `size` sessions that cannot write, with the rights of `role` alone if the database has it."""

    async def set_role(connection: Connection) -> None:
        privilege = set_role_privilege(connection.get_server_version().major)
        if await connection.fetchval(
            "SELECT pg_has_role(current_user, oid, $2) FROM pg_roles WHERE rolname = $1", role, privilege
        ):
            await connection.execute(f'SET ROLE "{role}"')

    return await asyncpg.create_pool(
        url, min_size=0, max_size=size, connect=_open, init=set_role, timeout=CONNECT_SECONDS_MAX,
        command_timeout=COMMAND_SECONDS_MAX,
        server_settings={**_SERVER_SETTINGS, "application_name": name, "default_transaction_read_only": "on"},
    )  # fmt: skip


async def _open(url: str, **options: Any) -> Connection:
    try:
        return await asyncpg.connect(url, **options)
    except _URL_ERRORS as problem:
        raise DatabaseUrlError(f"DATABASE_URL cannot be used: {problem}") from problem
