"""Brings the schema up to date: plain SQL files, each applied once, in order, never changed afterwards."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from hashlib import sha256
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import asyncpg
from msgspec import Struct

from worker.postgres.connecting import UNLIMITED, Connection, connected

# Any number that nobody else locks; the whole of a migration happens under it.
_LOCK = 0x5E771E
# Sessions queue behind one that waits for a table: a migration that waits for a backup or an audit would stop all
# workers. So it gives up before they lose patience, lets them pass, and tries again.
_TABLE_LOCK_TIMEOUT = "500ms"
_PAUSE_SECONDS = 1.0
# Encodings of a database that keep every text as it came.
_ENCODINGS = ("UTF8", "SQL_ASCII")
_TABLE = """
CREATE TABLE IF NOT EXISTS public.settlement_migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""


class MigrationError(Exception):
    """One sentence that says what is wrong between these files and that database."""


class Migration(Struct, frozen=True):
    """One file."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """What must never change once it was applied."""
        return sha256(self.sql.encode()).hexdigest()


def migrations() -> list[Migration]:
    """What this program knows, in order."""
    files = sorted((one for one in _folder().iterdir() if one.name.endswith(".sql")), key=lambda one: one.name)
    found = [Migration(int(one.name.split("_")[0]), one.name, one.read_text("utf-8")) for one in files]
    numbers = [one.number for one in found]
    if len(set(numbers)) != len(numbers):
        raise MigrationError(f"two migrations have the same number: {', '.join(one.name for one in found)}")
    return found


async def migrate(url: str, known: list[Migration] | None = None) -> list[str]:
    """Applies what is missing, makes room, and says what it applied. Of several at once one works, the others wait."""
    known = migrations() if known is None else known
    limits = {"lock_timeout": UNLIMITED, "statement_timeout": UNLIMITED}
    async with connected(url, name="settlement-migrate", **limits) as connection:
        _refuse_encoding(connection)
        await connection.fetch("SELECT pg_advisory_lock($1)", _LOCK)
        applied = await _applied(connection)
        _refuse_disagreement(known, applied)
        missing = [one for one in known if one.number not in applied]
        for one in missing:
            await _patiently(connection, partial(_apply, connection, one))
        await _patiently(connection, partial(_make_room, connection))
        return [one.name for one in missing]


async def _patiently(connection: Connection, work: Callable[[], Awaitable[None]]) -> None:
    """Does the work in one transaction, again and again while another session holds a table that it needs."""
    while True:
        try:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = '{_TABLE_LOCK_TIMEOUT}'")
                return await work()
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            await asyncio.sleep(_PAUSE_SECONDS)


async def _apply(connection: Connection, one: Migration) -> None:
    await connection.execute(_TABLE)
    await connection.execute(one.sql)
    await connection.execute(
        "INSERT INTO public.settlement_migrations (number, name, sha256) VALUES ($1, $2, $3)",
        one.number, one.name, one.checksum,
    )  # fmt: skip


async def _make_room(connection: Connection) -> None:
    """Tables for the entries to come."""
    if await connection.fetchval("SELECT to_regprocedure('ledger.add_entries_tables(integer)')") is not None:
        await connection.execute("SELECT ledger.add_entries_tables()")


async def require_current(connection: Connection) -> None:
    """The schema is the one of this program; else a `MigrationError` says what to do."""
    known = migrations()
    applied = await _applied(connection)
    _refuse_disagreement(known, applied)
    if missing := [one.name for one in known if one.number not in applied]:
        what = f"migration {missing[0]}" + (f" and {len(missing) - 1} more" if missing[1:] else "")
        raise MigrationError(f"the database lacks {what}: `settlement migrate` applies what is missing")
    _refuse_encoding(connection)


async def _applied(connection: Connection) -> dict[int, tuple[str, str]]:
    if await connection.fetchval("SELECT to_regclass('public.settlement_migrations')") is None:
        return {}
    rows = await connection.fetch("SELECT number, name, sha256 FROM public.settlement_migrations ORDER BY number")
    return {row["number"]: (row["name"], row["sha256"]) for row in rows}


def _refuse_encoding(connection: Connection) -> None:
    """One answer of a connector that cannot be stored would be asked for again and again."""
    if (encoding := connection.get_settings().server_encoding) not in _ENCODINGS:
        raise MigrationError(
            f"the database is encoded in {encoding}, which cannot store every text: make it with ENCODING 'UTF8'"
        )


def _refuse_disagreement(known: list[Migration], applied: dict[int, tuple[str, str]]) -> None:
    by_number = {one.number: one for one in known}
    for number, (name, checksum) in applied.items():
        if (one := by_number.get(number)) is None:
            raise MigrationError(f"the database has {name}, which this program does not know: update the program")
        if one.checksum != checksum:
            raise MigrationError(f"{one.name} was changed after it had been applied: add a new file instead")


def _folder() -> Traversable:
    """Inside the package where it was built into a wheel, beside it in a checkout."""
    inside = resources.files("worker") / "schemas" / "postgres"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "schemas" / "postgres"


async def applied_version(url: str) -> int:
    """The number of the last migration that a database has; 0 for an empty one."""
    async with connected(url, name="settlement-version") as connection:
        return max(await _applied(connection), default=0)


async def server_version(url: str) -> str:
    """PostgreSQL's own version."""
    async with connected(url, name="settlement-version") as connection:
        return str(await connection.fetchval("SHOW server_version"))
