"""A lock that was not to be had, and who holds it: PostgreSQL names neither the table nor the holder by itself."""

import re

import asyncpg

from worker.postgres.connecting import SESSION_LOST, Connection
from worker.postgres.queries import load

# How the context of the error, which is there where a row was waited for, names its table.
_TABLE = re.compile(r'in relation "(.+?)"')

_SQL = load("worker.stream")


async def explained(problem: asyncpg.LockNotAvailableError, connection: Connection) -> str:
    """A sentence that stays the same while the same is held."""
    try:
        holders = await connection.fetch(_SQL["lock_holders"])
    except SESSION_LOST:
        holders = []
    found = _TABLE.search(problem.context or "")
    table = f", of a row of {found[1]}" if found else ""
    return "; ".join((f"PostgreSQL: {problem}{table}", *map(_said, holders)))


def _said(holder: asyncpg.Record) -> str:
    does = f", {holder['state']}" if holder["state"] else ""
    since = f", its transaction began at {holder['xact_start']:%Y-%m-%d %H:%M:%SZ}" if holder["xact_start"] else ""
    who = f"{holder['application_name'] or 'without a name'}, user {holder['usename']}{does}{since}"
    return f"process {holder['pid']} ({who}) holds locks on {', '.join(holder['tables'])}"
