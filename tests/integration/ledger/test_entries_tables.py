"""The ledger's entries are partitioned into tables of equal size."""

import asyncpg
import pytest

from tests.integration.ledger.harness import LedgerHarness, authorized, invoice
from worker.ledger.checking import run_audit
from worker.postgres.migrations import migrate, migrations

PER_TABLE = 10_000_000
BEFORE_THE_TABLES = 14
TABLE_OF_EACH_ENTRY = "SELECT place, tableoid::regclass::text FROM ledger.entries ORDER BY place"


async def set_chain_place(ledger: LedgerHarness, place: int) -> None:
    """Makes the order's chain look as if it had grown to this place."""
    await ledger.connection.execute("UPDATE chains SET place = $1", place)


async def test_an_entry_is_stored_in_the_table_of_its_place(ledger: LedgerHarness):
    await ledger.apply("order.authorized", authorized("o1"))
    await set_chain_place(ledger, PER_TABLE - 1)
    await ledger.apply("invoice.issued", invoice("o1", "1", 1000))
    await ledger.apply("invoice.issued", invoice("o1", "2", 1000))

    assert await ledger.rows(TABLE_OF_EACH_ENTRY) == [
        (1, "ledger_entries.entries_1"),
        (PER_TABLE, "ledger_entries.entries_1"),
        (PER_TABLE + 1, "ledger_entries.entries_2"),
    ]


async def test_a_migration_creates_the_next_entries_tables_in_advance(ledger: LedgerHarness):
    await ledger.apply("order.authorized", authorized("o1"))
    await set_chain_place(ledger, 4 * PER_TABLE)

    assert await migrate(ledger.url) == []

    await ledger.apply("invoice.issued", invoice("o1", "1", 1000))
    assert (await ledger.rows(TABLE_OF_EACH_ENTRY))[-1] == (4 * PER_TABLE + 1, "ledger_entries.entries_5")


async def test_entries_without_a_table_of_their_own_go_to_the_rest_table(ledger: LedgerHarness):
    await ledger.apply("order.authorized", authorized("o1"))
    await set_chain_place(ledger, 1000 * PER_TABLE)
    await ledger.apply("invoice.issued", invoice("o1", "1", 1000))

    assert (await ledger.rows(TABLE_OF_EACH_ENTRY))[-1] == (1000 * PER_TABLE + 1, "ledger_entries.entries_rest")
    assert await migrate(ledger.url) == [], "the migration adds no table and does not fail"


@pytest.mark.parametrize("table", ["entries_1", "entries_4", "entries_rest"])
@pytest.mark.parametrize("change", ["UPDATE {} SET amount = 1", "DELETE FROM {}", "TRUNCATE {}"])
async def test_not_even_the_owner_can_rewrite_a_table_of_entries(
    ledger: LedgerHarness, table: str, change: str
) -> None:
    with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
        await ledger.connection.execute(change.format(f"ledger_entries.{table}"))


async def test_the_entries_of_an_older_ledger_are_partitioned_without_copying(empty_database: str):
    await migrate(empty_database, migrations()[:BEFORE_THE_TABLES])
    connection = await asyncpg.connect(empty_database)
    await connection.execute(
        "INSERT INTO ledger.entries (chain, place, order_id, fact, payment_id, debit, credit, amount, currency, rule,"
        " command_id, hash) SELECT 3, place, 'o', 1, 'p', 'issuer', 'authorized', 1, 'USD', 'R25', '', sha256('')"
        " FROM unnest(ARRAY[1, 2, 25000000]) AS place"
    )
    await connection.execute("INSERT INTO ledger.chains VALUES (3, 25000000, sha256(''))")
    before = await connection.fetchval("SELECT pg_relation_filenode('ledger.entries')")

    await migrate(empty_database)

    assert [tuple(row) for row in await connection.fetch(TABLE_OF_EACH_ENTRY)] == [
        (1, "ledger_entries.entries_3"), (2, "ledger_entries.entries_3"), (25_000_000, "ledger_entries.entries_3"),
    ]  # fmt: skip
    assert await connection.fetchval("SELECT pg_relation_filenode('ledger_entries.entries_3')") == before
    await connection.close()


async def test_the_audit_reads_across_entries_tables(ledger: LedgerHarness):
    await ledger.connection.execute("CREATE OR REPLACE FUNCTION entries_per_table() RETURNS bigint IMMUTABLE RETURN 2")
    await ledger.connection.execute("SELECT add_entries_tables()")
    for number in range(4):
        await ledger.apply("order.authorized", authorized(f"o{number}"))

    assert (await run_audit(ledger.settings))["ok"]
