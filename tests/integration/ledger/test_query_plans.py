"""Query plans: queries of a cycle and lookups of one order use indexes, however large the ledger grows."""

from datetime import UTC, datetime
from typing import Any

import asyncpg
import orjson
import pytest

from tests.bench.growth import copy_order
from tests.integration.cycle_harness import PARTITIONS
from tests.integration.ledger.harness import LedgerHarness, authorized, invoice
from tests.integration.query_plans import nodes, rows_read
from worker.postgres.queries import Query, all_queries

COPIES = 3_000
HOT = (
    "worker/ledger/tables.sql", "worker/stream/dead_letters.sql", "worker/stream/offsets.sql",
    "worker/stream/outbox.sql", "worker/stream/ownership.sql",
)  # fmt: skip
# The first two run for the metrics, in a session of their own; the last one is a setting without a plan.
NOT_IN_A_CYCLE = ("count_parked", "count_open_dead_letters", "wait_briefly_for_locks")
LARGE = ("orders", "payments", "settlements", "commands", "facts", "events", "entries", "parked")

BY_KEY = ("order_", "acts_on_", "show_", "home_of_order", "same_decision", "read_dead_letters", "became_of_replay")
LOOKED_UP = (
    "orders", "commands", "facts", "events", "entries_1", "attempts", "decisions", "acts", "dead_letters",
)  # fmt: skip
# Fills the delivery worker's tables and the operators' acts for as many orders.
DELIVERED = f"""
INSERT INTO delivery.commands (command_id, partition, order_id, payment_id, sequence, operation, connector, value,
    topic, source_partition, "offset", body, headers, "timestamp", state, due_at, taken_at)
SELECT 'c' || n, 0, 'o' || n, 'p' || n, 1, 'settle', 'acme', 1, 't', 0, n, '', '', now(), 'succeeded', now(), now()
FROM generate_series(1, {COPIES}) AS n;
INSERT INTO delivery.attempts (command_id, attempt, epoch, begun_at)
SELECT command_id, 1, 1, now() FROM delivery.commands;
INSERT INTO delivery.decisions (action, partition, order_id, command_id, decided_by, reason)
SELECT 'retry', 0, order_id, command_id, 'ana', 'why not' FROM delivery.commands;
INSERT INTO people.acts (action, through, order_id, command_id, decided_by, reason)
SELECT 'retry', 'ops view', order_id, command_id, 'ana', 'why not' FROM delivery.commands;
INSERT INTO people.acts (action, through, order_id, dead_letter, decided_by, reason)
SELECT 'discard', 'ops view', order_id, "offset", 'ana', 'why not' FROM delivery.commands;
INSERT INTO ledger.dead_letters (topic, partition, "offset", order_id, reason, message, headers, "timestamp", dead_at)
SELECT 't', 0, "offset", order_id, 'rejected', '', '', now(), now() FROM delivery.commands;
INSERT INTO delivery.dead_letters (topic, partition, "offset", order_id, reason, message, headers, "timestamp", dead_at)
SELECT 't', 0, "offset", order_id, 'declined', '', '', now(), now() FROM delivery.commands;
"""

# As many deadlines in the past as in the future.
DUE_MAX = 10
DEADLINES = f"""
INSERT INTO orders (order_id, partition, wake_at)
SELECT 'o' || n, n % {PARTITIONS}, now() + interval '1 s' * (n - {COPIES}) FROM generate_series(1, 2 * {COPIES}) AS n
"""


async def test_no_query_of_a_cycle_scans_a_large_table(ledger: LedgerHarness):
    await ledger.apply("order.authorized", authorized("o1"))
    await ledger.apply("invoice.issued", invoice("o1", "1", 4_000))
    await ledger.succeed()
    for number in range(COPIES):
        ledger.send("invoice.issued", invoice("never", str(number), 4_000))
    await ledger.cycle()
    await copy_order(ledger.connection, "o1", COPIES)
    await ledger.connection.execute("SET plan_cache_mode = force_generic_plan")

    read = {
        f"{query.name}: {node['Relation Name']}"
        for query in all_queries() if query.file in HOT and query.name not in NOT_IN_A_CYCLE
        for node in await plan(ledger.connection, query)
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] in LARGE
    }  # fmt: skip

    assert not read


@pytest.mark.parametrize(
    ("name", "limits"),
    [("next_wake", ()), ("due_orders", (DUE_MAX, []))],
)
async def test_reading_the_deadlines_reads_only_the_first_ones_of_each_partition(
    ledger: LedgerHarness, name: str, limits: tuple[Any, ...]
):
    """It runs every second, in a cycle, and must not slow down with the number of deadlines."""
    await ledger.connection.execute(DEADLINES)
    await ledger.connection.execute("VACUUM ANALYZE orders")
    sql = next(query.sql for query in all_queries() if query.name == name)
    arguments = (list(range(PARTITIONS)), datetime.now(UTC), *limits)

    explained = await ledger.connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", *arguments)

    read = sum(
        rows_read(node)
        for node in nodes(orjson.loads(explained)[0]["Plan"]) if node.get("Relation Name") == "orders"
    )  # fmt: skip
    assert read <= PARTITIONS * DUE_MAX


async def test_no_lookup_of_one_order_scans_a_large_table(ledger: LedgerHarness):
    await ledger.apply("order.authorized", authorized("o1"))
    await ledger.apply("invoice.issued", invoice("o1", "1", 4_000))
    await ledger.succeed()
    await ledger.connection.execute(DELIVERED)
    await copy_order(ledger.connection, "o1", COPIES)
    await ledger.connection.execute("SET plan_cache_mode = force_generic_plan")

    read = {
        f"{query.name}: {node['Relation Name']}"
        for query in all_queries() if query.file.startswith("worker/people/") and query.name.startswith(BY_KEY)
        for node in await plan(ledger.connection, query)
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] in LOOKED_UP
    }  # fmt: skip

    assert not read


async def plan(connection: asyncpg.Connection, query: Query) -> list[dict[str, Any]]:
    """The nodes of the query's generic plan."""
    number = len((await connection.prepare(query.sql)).get_parameters())
    values = f"({', '.join(['NULL'] * number)})" if number else ""
    await connection.execute(f"PREPARE hot AS {query.sql}")
    explained = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE hot {values}")
    await connection.execute("DEALLOCATE hot")
    return list(nodes(orjson.loads(explained)[0]["Plan"]))
