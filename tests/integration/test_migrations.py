"""Migrations: applied once, beside running workers and backups, and refused where they do not fit."""

import asyncio

import asyncpg
import pytest

from tests.until import until
from worker.domain.kept import encode
from worker.domain.order import Invoice, Lack, Order
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
CREATES = Migration(1, "0001_creates.sql", "CREATE TABLE written (x integer); CREATE TABLE read (x integer)")
NEEDS_BOTH = Migration(2, "0002_both.sql", "LOCK TABLE written; ALTER TABLE read ADD y integer")
STREAM_TABLES = {"members", "partitions", "positions", "published", "outbox", "dead_letters"}


async def test_concurrent_migrations_apply_each_file_once(empty_database: str):
    done = await asyncio.gather(*(migrate(empty_database) for _ in range(5)))

    assert sorted(map(len, done)) == [0, 0, 0, 0, len(migrations())]
    assert await applied_version(empty_database) == migrations()[-1].number
    assert await migrate(empty_database) == []


async def test_a_migration_has_no_time_limit(empty_database: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connecting, "COMMAND_SECONDS_MAX", 0.2)
    slow = Migration(1, "0001_slow.sql", "SELECT pg_sleep(0.5)")

    done = await asyncio.gather(*(migrate(empty_database, [slow]) for _ in range(2)))

    assert sorted(done) == [[], ["0001_slow.sql"]], "the second waited for the first"


async def test_workers_go_on_while_a_migration_waits_for_the_locks_of_a_backup(empty_database: str):
    await migrate(empty_database, [CREATES])
    backup, worker = await asyncpg.connect(empty_database), await connecting.connect(empty_database, name="worker")
    reading = backup.transaction()
    await reading.start()
    await backup.fetch("SELECT FROM read")

    migration = asyncio.create_task(migrate(empty_database, [CREATES, NEEDS_BOTH]))
    await until_migration_waits(backup)
    assert await worker.fetch("SELECT FROM read") == [], "the worker did not wait for the backup"

    assert not migration.done()
    await reading.rollback()
    assert await migration == [NEEDS_BOTH.name]
    await backup.close()
    await worker.close()


async def test_a_migration_and_a_worker_that_need_each_others_tables_both_finish(empty_database: str):
    await migrate(empty_database, [CREATES])
    worker, reader = await connecting.connect(empty_database, name="worker"), await asyncpg.connect(empty_database)
    cycle = worker.transaction()
    await cycle.start()
    await worker.execute("INSERT INTO read VALUES (1)")

    migration = asyncio.create_task(migrate(empty_database, [CREATES, NEEDS_BOTH]))
    await until_migration_waits(reader)
    await worker.execute("INSERT INTO written VALUES (1)")
    await cycle.commit()

    assert await migration == [NEEDS_BOTH.name]
    assert await reader.fetchval("SELECT count(*) FROM read, written") == 1
    await reader.close()
    await worker.close()


async def until_migration_waits(connection: asyncpg.Connection) -> None:
    """Waits until the migration waits for a table."""

    async def waits() -> bool:
        return await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = $1::regclass)", "read"
        )

    await until(waits, SECONDS_MAX)


async def test_a_migration_file_changed_after_it_was_applied_is_refused(empty_database: str):
    await migrate(empty_database, [Migration(1, "0001_a.sql", "CREATE TABLE a (x integer)")])

    with pytest.raises(MigrationError, match=r"0001_a\.sql was changed after it had been applied"):
        await migrate(empty_database, [Migration(1, "0001_a.sql", "CREATE TABLE a (x bigint)")])


async def test_a_database_newer_than_the_program_is_refused(empty_database: str):
    await migrate(empty_database, [Migration(7, "0007_later.sql", "SELECT 1")])

    with pytest.raises(MigrationError, match="update the program"):
        await migrate(empty_database, [])


async def test_a_failed_migration_leaves_nothing_behind(empty_database: str):
    good = Migration(1, "0001_good.sql", "CREATE TABLE good (x integer)")
    bad = Migration(2, "0002_bad.sql", "CREATE TABLE half (x integer); SELECT 1 / 0")

    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(empty_database, [good, bad])

    assert await applied_version(empty_database) == 1
    connection = await asyncpg.connect(empty_database)
    assert await connection.fetchval("SELECT to_regclass('half')") is None
    await connection.close()


async def test_a_worker_on_an_empty_database_names_the_command_to_run(empty_database: str):
    connection = await asyncpg.connect(empty_database)

    with pytest.raises(MigrationError, match="`settlement migrate` applies"):
        await require_current(connection)

    await connection.close()


async def test_a_database_with_another_encoding_than_utf8_is_refused(latin_database: str):
    with pytest.raises(MigrationError, match=r"encoded in WIN1252, .* make it with ENCODING 'UTF8'"):
        await migrate(latin_database)


async def test_settings_of_the_database_weaken_neither_migrations_nor_durability(empty_database: str):
    owner = await asyncpg.connect(empty_database)
    name = await owner.fetchval("SELECT quote_ident(current_database())")
    for setting in ("standard_conforming_strings = off", "synchronous_commit = off"):
        await owner.execute(f"ALTER DATABASE {name} SET {setting}")
    await owner.close()

    await migrate(empty_database)

    worker = await connecting.connect(empty_database, name="worker")
    assert await worker.fetchval("SHOW synchronous_commit") == "on"
    await worker.close()


async def test_both_workers_have_the_same_stream_tables(database_url: str):
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


async def test_orders_that_waited_for_an_authorization_before_its_column_came_are_found(empty_database: str):
    *before, _ = [one for one in migrations() if one.number <= 27]
    await migrate(empty_database, before)
    connection = await asyncpg.connect(empty_database)
    for kind in ("waiting", "lapsed"):
        order = Order(kind, invoices={"17": Invoice("17", True, 5, 5)}, lacks=[Lack("17", kind, 5)], refused=["\0"])
        await connection.execute(
            "INSERT INTO ledger.orders (order_id, partition, document) VALUES ($1, 0, $2)", kind, encode(order)
        )

    await migrate(empty_database)

    found = await connection.fetch("SELECT order_id FROM ledger.orders WHERE needs_authorization")
    assert [row["order_id"] for row in found] == ["waiting"]
    await connection.close()
