"""Migrations: plain SQL files, each applied once, in order, in one transaction, and never changed afterwards."""

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

# The key of the advisory lock under which all migrations run; any number that nobody else locks.
_LOCK = 0x5E771E
# Sessions queue behind one that waits for a table, so a migration that waits for a backup or an audit would stop all
# workers. It gives up well before their lock_timeout, lets them pass, and retries.
_TABLE_LOCK_TIMEOUT = "500ms"
_PAUSE_SECONDS = 1.0
# Database encodings that can store every text.
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
    """One sentence: how these files and the database disagree, and what to do."""


class Migration(Struct, frozen=True):
    """A migration file."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """Recorded when the file is applied, to detect later changes."""
        return sha256(self.sql.encode()).hexdigest()


def migrations() -> list[Migration]:
    """The migrations of this program, in order."""
    files = sorted((file for file in _folder().iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    known = [Migration(int(file.name.split("_")[0]), file.name, file.read_text("utf-8")) for file in files]
    if len({migration.number for migration in known}) != len(known):
        raise MigrationError(f"two migrations have the same number: {', '.join(file.name for file in files)}")
    return known


async def migrate(url: str, known: list[Migration] | None = None) -> list[str]:
    """Applies missing migrations and returns their names; adds tables for entries to come. Several take turns."""
    known = migrations() if known is None else known
    limits = {"lock_timeout": UNLIMITED, "statement_timeout": UNLIMITED}
    async with connected(url, name="settlement-migrate", **limits) as connection:
        _refuse_encoding(connection)
        await connection.fetch("SELECT pg_advisory_lock($1)", _LOCK)
        applied = await _applied(connection)
        _refuse_disagreement(known, applied)
        missing = [migration for migration in known if migration.number not in applied]
        for migration in missing:
            await _retry_while_locked(connection, partial(_apply, connection, migration))
        await _retry_while_locked(connection, partial(_add_entries_tables, connection))
        return [migration.name for migration in missing]


async def _retry_while_locked(connection: Connection, work: Callable[[], Awaitable[None]]) -> None:
    """Does the work in one transaction; retries while another session holds a table that it needs."""
    while True:
        try:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = '{_TABLE_LOCK_TIMEOUT}'")
                return await work()
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            await asyncio.sleep(_PAUSE_SECONDS)


async def _apply(connection: Connection, migration: Migration) -> None:
    await connection.execute(_TABLE)
    await connection.execute(migration.sql)
    await connection.execute(
        "INSERT INTO public.settlement_migrations (number, name, sha256) VALUES ($1, $2, $3)",
        migration.number, migration.name, migration.checksum,
    )  # fmt: skip


async def _add_entries_tables(connection: Connection) -> None:
    """Creates the next tables of `ledger.entries`."""
    if await connection.fetchval("SELECT to_regprocedure('ledger.add_entries_tables(integer)')") is not None:
        await connection.execute("SELECT ledger.add_entries_tables()")


async def require_current(connection: Connection) -> None:
    """Raises `MigrationError` unless the schema is the one of this program."""
    known = migrations()
    applied = await _applied(connection)
    _refuse_disagreement(known, applied)
    if missing := [migration.name for migration in known if migration.number not in applied]:
        more = f" and {len(missing) - 1} more" if missing[1:] else ""
        raise MigrationError(
            f"the database lacks migration {missing[0]}{more}: `settlement migrate` applies what is missing"
        )
    _refuse_encoding(connection)


async def _applied(connection: Connection) -> dict[int, tuple[str, str]]:
    if await connection.fetchval("SELECT to_regclass('public.settlement_migrations')") is None:
        return {}
    rows = await connection.fetch("SELECT number, name, sha256 FROM public.settlement_migrations ORDER BY number")
    return {row["number"]: (row["name"], row["sha256"]) for row in rows}


def _refuse_encoding(connection: Connection) -> None:
    """Refuses encodings that lack characters: an answer that cannot be stored would be requested again and again."""
    if (encoding := connection.get_settings().server_encoding) not in _ENCODINGS:
        raise MigrationError(
            f"the database is encoded in {encoding}, which cannot store every text: make it with ENCODING 'UTF8'"
        )


def _refuse_disagreement(known: list[Migration], applied: dict[int, tuple[str, str]]) -> None:
    by_number = {migration.number: migration for migration in known}
    for number, (name, checksum) in applied.items():
        if (migration := by_number.get(number)) is None:
            raise MigrationError(f"the database has {name}, which this program does not know: update the program")
        if migration.checksum != checksum:
            raise MigrationError(f"{migration.name} was changed after it had been applied: add a new file instead")


def _folder() -> Traversable:
    """Where the SQL files are: inside the package in a wheel, beside it in a checkout."""
    inside = resources.files("worker") / "schemas" / "postgres"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "schemas" / "postgres"


async def applied_version(url: str) -> int:
    """The number of the last migration that was applied to the database; 0 for an empty one."""
    async with connected(url, name="settlement-version") as connection:
        return max(await _applied(connection), default=0)


async def server_version(url: str) -> str:
    """PostgreSQL's own version."""
    async with connected(url, name="settlement-version") as connection:
        return str(await connection.fetchval("SHOW server_version"))
