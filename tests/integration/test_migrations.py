"""The schema comes up to date, once, whoever else tries at the same moment."""

import asyncio

import asyncpg
import pytest

from tests.until import until
from worker.postgres import connecting
from worker.postgres.migrations import (
    Migration,
    MigrationError,
    applied_version,
    migrate,
    migrations,
    require_current,
)

SECONDS_MAX = 30
MADE = Migration(1, "0001_made.sql", "CREATE TABLE written (x integer); CREATE TABLE read (x integer)")
NEEDS_BOTH = Migration(2, "0002_both.sql", "LOCK TABLE written; ALTER TABLE read ADD y integer")
STREAM_TABLES = {"members", "partitions", "positions", "published", "outbox", "dead_letters"}


async def test_several_at_once_apply_each_file_once(empty_database: str):
    done = await asyncio.gather(*(migrate(empty_database) for _ in range(5)))

    assert sorted(map(len, done)) == [0, 0, 0, 0, len(migrations())]
    assert await applied_version(empty_database) == migrations()[-1].number
    assert await migrate(empty_database) == []


async def test_a_file_may_take_as_long_as_it_takes(empty_database: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connecting, "COMMAND_SECONDS_MAX", 0.2)
    slow = Migration(1, "0001_slow.sql", "SELECT pg_sleep(0.5)")

    done = await asyncio.gather(*(migrate(empty_database, [slow]) for _ in range(2)))

    assert sorted(done) == [[], ["0001_slow.sql"]], "the second one waited for the first"


async def test_workers_go_on_while_a_file_waits_for_a_backup_that_reads_their_tables(empty_database: str):
    await migrate(empty_database, [MADE])
    backup, worker = await asyncpg.connect(empty_database), await connecting.connect(empty_database, name="worker")
    reading = backup.transaction()
    await reading.start()
    await backup.fetch("SELECT FROM read")

    waits = asyncio.create_task(migrate(empty_database, [MADE, NEEDS_BOTH]))
    await until_it_waits(backup)
    assert await worker.fetch("SELECT FROM read") == [], "it did not wait until the backup was over"

    assert not waits.done()
    await reading.rollback()
    assert await waits == [NEEDS_BOTH.name]
    await backup.close()
    await worker.close()


async def test_a_file_and_a_worker_that_wait_for_each_others_table_both_come_to_their_end(empty_database: str):
    await migrate(empty_database, [MADE])
    worker, look = await connecting.connect(empty_database, name="worker"), await asyncpg.connect(empty_database)
    cycle = worker.transaction()
    await cycle.start()
    await worker.execute("INSERT INTO read VALUES (1)")

    waits = asyncio.create_task(migrate(empty_database, [MADE, NEEDS_BOTH]))
    await until_it_waits(look)
    await worker.execute("INSERT INTO written VALUES (1)")
    await cycle.commit()

    assert await waits == [NEEDS_BOTH.name]
    assert await look.fetchval("SELECT count(*) FROM read, written") == 1
    await look.close()
    await worker.close()


async def until_it_waits(connection: asyncpg.Connection) -> None:
    """The migration, for a table."""

    async def waits() -> bool:
        return await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = $1::regclass)", "read"
        )

    await until(waits, SECONDS_MAX)


async def test_a_file_that_was_changed_after_it_was_applied_is_refused(empty_database: str):
    await migrate(empty_database, [Migration(1, "0001_a.sql", "CREATE TABLE a (x integer)")])

    with pytest.raises(MigrationError, match=r"0001_a\.sql was changed after it had been applied"):
        await migrate(empty_database, [Migration(1, "0001_a.sql", "CREATE TABLE a (x bigint)")])


async def test_a_database_newer_than_the_program_is_refused(empty_database: str):
    await migrate(empty_database, [Migration(7, "0007_later.sql", "SELECT 1")])

    with pytest.raises(MigrationError, match="update the program"):
        await migrate(empty_database, [])


async def test_a_file_that_fails_leaves_nothing_behind(empty_database: str):
    good = Migration(1, "0001_good.sql", "CREATE TABLE good (x integer)")
    bad = Migration(2, "0002_bad.sql", "CREATE TABLE half (x integer); SELECT 1 / 0")

    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(empty_database, [good, bad])

    assert await applied_version(empty_database) == 1
    connection = await asyncpg.connect(empty_database)
    assert await connection.fetchval("SELECT to_regclass('half')") is None
    await connection.close()


async def test_a_worker_names_what_is_missing(empty_database: str):
    connection = await asyncpg.connect(empty_database)

    with pytest.raises(MigrationError, match="`settlement migrate` applies"):
        await require_current(connection)

    await connection.close()


async def test_a_database_that_cannot_store_every_text_is_refused(latin_database: str):
    with pytest.raises(MigrationError, match=r"encoded in WIN1252, .* make it with ENCODING 'UTF8'"):
        await migrate(latin_database)


async def test_what_somebody_set_for_the_database_costs_neither_the_schema_nor_what_was_committed(empty_database: str):
    somebody = await asyncpg.connect(empty_database)
    name = await somebody.fetchval("SELECT quote_ident(current_database())")
    for setting in ("standard_conforming_strings = off", "synchronous_commit = off"):
        await somebody.execute(f"ALTER DATABASE {name} SET {setting}")
    await somebody.close()

    await migrate(empty_database)

    worker = await connecting.connect(empty_database, name="worker")
    assert await worker.fetchval("SHOW synchronous_commit") == "on"
    await worker.close()


async def test_both_workers_have_the_same_tables_of_the_stream(database_url: str):
    connection = await asyncpg.connect(database_url)

    columns = await connection.fetch(
        "SELECT table_schema, table_name, column_name, data_type, is_nullable FROM information_schema.columns"
        " WHERE table_schema IN ('ledger', 'delivery') AND table_name = ANY($1)", list(STREAM_TABLES)
    )  # fmt: skip
    uncommented = await connection.fetch(
        "SELECT oid::regclass FROM pg_class WHERE relkind = 'r' AND obj_description(oid) IS NULL"
        " AND relnamespace IN ('ledger'::regnamespace, 'delivery'::regnamespace)"
    )

    shapes = {schema: {tuple(row)[1:] for row in columns if row["table_schema"] == schema}
              for schema in ("ledger", "delivery")}  # fmt: skip
    assert shapes["ledger"] == shapes["delivery"]
    assert {name for name, *_ in shapes["ledger"]} == STREAM_TABLES
    assert not uncommented
    await connection.close()
