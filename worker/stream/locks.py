"""Names who holds a lock that was waited for in vain: PostgreSQL's error names neither the table nor the holder."""

import re

import asyncpg

from worker.postgres.connecting import SESSION_LOST, Connection
from worker.postgres.queries import load

# Names the table in the error's context, which is there where a row was waited for.
_TABLE = re.compile(r'in relation "(.+?)"')

_SQL = load("worker.stream")


async def describe_lock_timeout(problem: asyncpg.LockNotAvailableError, connection: Connection) -> str:
    """A sentence with the table and the holders; it stays the same while they do."""
    try:
        holders = await connection.fetch(_SQL["lock_holders"])
    except SESSION_LOST:
        holders = []
    relation = _TABLE.search(problem.context or "")
    table = f", of a row of {relation[1]}" if relation else ""
    return "; ".join((f"PostgreSQL: {problem}{table}", *map(_describe_holder, holders)))


def _describe_holder(holder: asyncpg.Record) -> str:
    state = f", {holder['state']}" if holder["state"] else ""
    since = f", its transaction began at {holder['xact_start']:%Y-%m-%d %H:%M:%SZ}" if holder["xact_start"] else ""
    who = f"{holder['application_name'] or 'without a name'}, user {holder['usename']}{state}{since}"
    return f"process {holder['pid']} ({who}) holds locks on {', '.join(holder['tables'])}"
