"""Tampering with any column of the ledger: its table refuses it, or the audit or the rebuild finds it."""

import asyncpg

from tests.integration.ledger.harness import GUARD, PARTITIONS, UNGUARD, LedgerHarness
from tests.integration.ledger.test_audit import fill_ledger
from worker.ledger.audit import Audit
from worker.ledger.rebuild import Rebuild

COLUMNS = """
SELECT table_name, column_name, data_type FROM information_schema.columns
WHERE table_schema = 'ledger' ORDER BY table_name, ordinal_position
"""
CHANGED = {
    "bigint": "{} + 1", "integer": "{} + 1", "boolean": "NOT {}", "text": "coalesce({}, '') || 'x'",
    "bytea": "coalesce({}, '') || ' '::bytea", "timestamp with time zone": "coalesce({}, now()) + interval '1 hour'",
    "ARRAY": "array['x']", "jsonb": "'[1]'", "uuid": "gen_random_uuid()",
}  # fmt: skip
# Columns whose change neither finds, by reason. A column of a later migration must be found or be listed here.
UNSEEN = {
    "a blank behind JSON has no meaning; other changes are found, see test_audit.py": [
        "events.message", "facts.fact", "facts.terms",
    ],
    "informational: no amount follows from it": ["facts.items"],
    "the time of writing: no amount follows from it": ["entries.booked_at", "facts.decided_at", "orders.updated_at"],
    "contents and decisions of a dead letter; its existence, place and reason are checked": [
        "dead_letters.id", "dead_letters.order_id", "dead_letters.merchant", "dead_letters.message", "dead_letters.key",
        "dead_letters.value", "dead_letters.headers", "dead_letters.timestamp", "dead_letters.dead_at",
        "dead_letters.decided_by", "dead_letters.decided_reason", "dead_letters.decided_at",
        "dead_letters.returned_partition", "dead_letters.returned_offset",
    ],
    "not decided or not published yet: only Kafka has the original": [
        "parked.key", "parked.value", "parked.headers", "parked.timestamp", "parked.expires_at", "outbox.misplaced",
    ],
    "positions: an earlier one is harmless; a later one skips a record, which only Kafka shows": [
        "consumed.next_offset", "positions.leader_epoch", "positions.next_offset", "positions.partition",
        "positions.topic", "positions.topic_id",
    ],
    "the next deadline: it depends on a setting that the audit does not know": ["orders.wake_at"],
}  # fmt: skip


async def finds_tampering(connection: asyncpg.Connection) -> bool:
    async for _ in Audit(connection, PARTITIONS).findings():
        return True
    async for _ in Rebuild(connection).differences():
        return True
    return False


async def test_tampering_with_any_column_is_refused_or_found(ledger: LedgerHarness):
    await fill_ledger(ledger)
    connection, unseen = ledger.connection, []
    assert not await finds_tampering(connection)

    for table, column, type_ in await ledger.rows(COLUMNS):
        if not await ledger.value(f"SELECT EXISTS (SELECT FROM {table})"):
            continue
        transaction = connection.transaction()
        await transaction.start()
        try:
            await connection.execute(UNGUARD)
            name = f'"{column}"'
            await connection.execute(
                f"UPDATE {table} SET {name} = {CHANGED[type_].format(name)}"
                f" WHERE ctid = (SELECT ctid FROM {table} ORDER BY ctid DESC LIMIT 1)"
            )
            await connection.execute(GUARD)
            if not await finds_tampering(connection):
                unseen.append(f"{table}.{column}")
        except (asyncpg.IntegrityConstraintViolationError, asyncpg.PostgresSyntaxError, asyncpg.GeneratedAlwaysError):
            pass  # the table itself refuses it
        finally:
            await transaction.rollback()

    assert sorted(unseen) == sorted(column for columns in UNSEEN.values() for column in columns)
