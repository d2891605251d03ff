"""Whatever column of the books somebody changes: a table refuses it, or the audit or the fold names it."""

import asyncpg

from tests.integration.ledger.harness import GUARD, PARTITIONS, UNGUARD, LedgerHarness
from tests.integration.ledger.test_audit import busy
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
# What neither finds, by why. Whatever a later migration adds must be found, or join a line here.
UNSEEN = {
    "a blank behind JSON says nothing; other changes are named in test_audit.py": [
        "events.message", "facts.fact", "facts.terms",
    ],
    "when it was written: no amount follows from it": ["entries.booked_at", "facts.decided_at", "orders.updated_at"],
    "how a dead letter is told of and what people did; that it exists, where and why, is checked": [
        "dead_letters.id", "dead_letters.order_id", "dead_letters.merchant", "dead_letters.message", "dead_letters.key",
        "dead_letters.value", "dead_letters.headers", "dead_letters.timestamp", "dead_letters.dead_at",
        "dead_letters.decided_by", "dead_letters.decided_reason", "dead_letters.decided_at",
        "dead_letters.returned_partition", "dead_letters.returned_offset",
    ],
    "not judged or not published yet: only Kafka could tell": [
        "parked.key", "parked.value", "parked.headers", "parked.timestamp", "parked.expires_at", "outbox.misplaced",
    ],
    "where to go on: back is harmless, it repeats; forward skips a record, which only Kafka could tell": [
        "consumed.next_offset", "positions.leader_epoch", "positions.next_offset", "positions.partition",
        "positions.topic", "positions.topic_id",
    ],
    "when the clock has to look next: it depends on a setting, and the audit does not know that": ["orders.wake_at"],
}  # fmt: skip


async def sees(connection: asyncpg.Connection) -> bool:
    async for _ in Audit(connection, PARTITIONS).findings():
        return True
    async for _ in Rebuild(connection).differences():
        return True
    return False


async def test_a_change_of_any_column_is_refused_or_found(ledger: LedgerHarness):
    await busy(ledger)
    connection, unseen = ledger.connection, []
    assert not await sees(connection)

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
            if not await sees(connection):
                unseen.append(f"{table}.{column}")
        except (asyncpg.IntegrityConstraintViolationError, asyncpg.PostgresSyntaxError, asyncpg.GeneratedAlwaysError):
            pass  # the table itself refuses it
        finally:
            await transaction.rollback()

    assert sorted(unseen) == sorted(column for columns in UNSEEN.values() for column in columns)
