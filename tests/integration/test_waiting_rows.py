"""Queries for waiting rows use indexes, however many rows wait."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import orjson
import pytest

from tests.integration.query_plans import nodes, rows_read
from worker.kafka.names import COMMANDS
from worker.people import discarding
from worker.people.dead_letters import Filter
from worker.postgres.connecting import connect
from worker.postgres.queries import all_queries

WAITING = 2_000
PARTITIONS = [0, 1, 2, 3]
PAGE_ROWS = 10
# After so many custom plans of a statement, PostgreSQL considers a generic one.
CUSTOM_PLANS = 5
STATES = ["manual", "suspect", "unknown", "declined"]
FILLED = f"""
INSERT INTO ledger.orders (order_id, partition, opened, merchant, document, awaits)
SELECT 'a' || n, n % 4, true, 'shop', '', '{{ghost}}' FROM generate_series(1, {WAITING}) AS n;
INSERT INTO ledger.orders (order_id, partition, opened, merchant, document, awaits, attention)
VALUES ('named', 0, true, 'shop', '', '{{c1}}', false), ('named meanwhile', 0, true, 'shop', '', '{{}}', false),
    ('one of two', 0, true, 'shop', '', '{{c1,ghost}}', false);
INSERT INTO ledger.orders (order_id, partition, opened, merchant, document, updated_at, attention)
SELECT kind || n, n % 4, true, 'shop', '', now(), true
FROM generate_series(1, {WAITING}) AS n, unnest('{{u,d}}'::text[]) AS kind;
INSERT INTO ledger.orders (order_id, partition, opened, merchant, document, needs_authorization)
SELECT 'n' || n, n % 4, true, 'shop', '', true FROM generate_series(1, {WAITING}) AS n;
INSERT INTO delivery.commands (command_id, partition, order_id, payment_id, sequence, operation, connector, value,
    topic, source_partition, "offset", body, headers, "timestamp", due_at, taken_at, turn, state, uncertain,
    first_attempt_at, ended_at)
SELECT kind || n, n % 4, kind || n, kind || n, 1, 'settle', 'c1', 1, '{COMMANDS}', 0, n, '{{}}', '', now(), now(),
    now(), true,
    CASE kind WHEN 'u' THEN 'unknown' WHEN 'd' THEN 'declined' ELSE 'waiting' END, kind IN ('u', 'w'),
    CASE WHEN n <= 3 THEN now() - interval '2 h' ELSE now() END,
    CASE WHEN kind <> 'w' THEN now() - n * interval '1 s' END
FROM generate_series(1, {WAITING}) AS n, unnest('{{u,d,w}}'::text[]) AS kind;
INSERT INTO delivery.decisions (action, partition, order_id, command_id, decided_by, reason)
SELECT 'retry', partition, order_id, command_id, 'ana', 'the acquirer is back'
FROM delivery.commands WHERE state = 'unknown' ORDER BY command_id;
INSERT INTO delivery.dead_letters (topic, partition, "offset", order_id, reason, message, headers, "timestamp", dead_at)
SELECT topic, source_partition, "offset", order_id, 'declined', '', '', now(), now() FROM delivery.commands
WHERE state = 'declined';
"""
# The planner's statistics are those of a moment ago, when all decisions waited.
APPLIED = f"UPDATE delivery.decisions SET applied_at = now() WHERE id <= {WAITING} * 0.9"
# The planner's statistics are those of a time when no command waited.
UNEXPECTED = """
UPDATE delivery.commands SET state = 'succeeded', uncertain = false;
UPDATE delivery.dead_letters SET status = 'discarded', decided_by = 'ana', decided_at = now();
ANALYZE;
UPDATE delivery.commands SET uncertain = true,
    state = CASE WHEN command_id LIKE 'w%' THEN 'waiting' ELSE 'declined' END;
UPDATE delivery.dead_letters SET status = 'open', decided_by = NULL, decided_at = NULL;
"""


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(database_url, name="test", schema="ledger")
    await connection.execute(FILLED)
    await connection.execute("VACUUM ANALYZE")
    await connection.execute(APPLIED)
    yield connection
    await connection.close()


@pytest.mark.parametrize(("schema", "name", "arguments", "rows"), [
    ("ledger", "named_orders", (PARTITIONS, ["c1", "c2"], PAGE_ROWS, ["o1"]), 2),
    ("delivery", "past_horizon", ("c1", "now() - interval '1 h'", PARTITIONS, "now()", PAGE_ROWS), 3),
    ("delivery", "waiting_decisions", ([0], PAGE_ROWS, 1_000_000), PAGE_ROWS),
    ("ledger", "orders_needing_people", (None, None, PAGE_ROWS, STATES), PAGE_ROWS),
    ("ledger", "orders_needing_people", ("u7", None, PAGE_ROWS, STATES), 1),
    ("ledger", "orders_needing_people", (None, None, PAGE_ROWS, []), PAGE_ROWS),
    ("ledger", "orders_needing_people", (None, "another shop", PAGE_ROWS, STATES), 0),
    ("ledger", "orders_needing_authorization", (None, None, PAGE_ROWS), PAGE_ROWS),
    ("ledger", "orders_needing_authorization", ("n7", "shop", PAGE_ROWS), 1),
    ("ledger", "orders_needing_authorization", ("u7", None, PAGE_ROWS), 0),
    ("ledger", "orders_needing_authorization", (None, "another shop", PAGE_ROWS), 0),
    ("ledger", "commands_needing_people", (["u1", "d1"], None, STATES[:3], None, PAGE_ROWS), 2 + PAGE_ROWS),
    ("ledger", "commands_needing_people", (["u1"], "u7", STATES[:3], None, PAGE_ROWS), 2),
])  # fmt: skip
async def test_a_query_for_waiting_rows_reads_only_a_small_part_of_them(
    connection: asyncpg.Connection, schema: str, name: str, arguments: tuple[Any, ...], rows: int
):
    await connection.execute(f"SET search_path TO {schema}")

    plan = await explained(connection, name, arguments)

    assert plan["Actual Rows"] == rows
    assert sum(rows_read(node) for node in nodes(plan)) <= WAITING / 10


@pytest.mark.parametrize(("name", "arguments"), [
    ("commands", ([f"w{n}" for n in range(PAGE_ROWS)],)),
    ("past_horizon", ("c1", "now() - interval '1 h'", PARTITIONS, "now()", PAGE_ROWS)),
    ("close_dead_letters", ([COMMANDS] * PAGE_ROWS, [0] * PAGE_ROWS, list(range(PAGE_ROWS)), ["replayed"] * PAGE_ROWS,
                            ["ana"] * PAGE_ROWS, ["back"] * PAGE_ROWS, ["now"] * PAGE_ROWS)),
    ("undecided_commands", (list(range(PAGE_ROWS)),)),
])  # fmt: skip
async def test_a_query_reads_only_a_small_part_of_waiting_rows_that_the_planner_does_not_expect(
    connection: asyncpg.Connection, name: str, arguments: tuple[Any, ...]
):
    await connection.execute(UNEXPECTED)
    await connection.execute("SET search_path TO delivery; SET plan_cache_mode TO force_generic_plan")

    plan = await explained(connection, name, arguments)

    assert sum(rows_read(node) for node in nodes(plan)) <= WAITING / 10


async def test_the_commands_of_one_merchant_are_found_without_reading_all_orders(connection: asyncpg.Connection):
    arguments = ([], None, STATES[:3], "another shop", PAGE_ROWS)

    plan = await explained(connection, "commands_needing_people", arguments)

    assert {node["Node Type"] for node in nodes(plan) if node.get("Relation Name") == "orders"} == {"Index Scan"}


@pytest.mark.parametrize(("name", "table"), [
    ("count_unresolved", "commands"), ("count_open_dead_letters", "dead_letters")])  # fmt: skip
async def test_waiting_rows_are_counted_with_an_index_only_scan(connection: asyncpg.Connection, name: str, table: str):
    await connection.execute("SET search_path TO delivery")

    scans = [node for node in nodes(await explained(connection, name, (PARTITIONS,))) if node.get("Relation Name")]

    assert [(node["Relation Name"], node["Node Type"]) for node in scans] == [(table, "Index Only Scan")]


async def test_a_discard_asks_for_many_commands_at_once_whether_they_need_a_decision(connection: asyncpg.Connection):
    queries: list[str] = []
    connection.add_query_logger(lambda done: queries.append(done.query))

    result = await discarding.plan(connection, Filter())

    assert (result.letters, result.decided_instead) == ({}, WAITING)
    assert len(queries) < WAITING / 100


async def explained(connection: asyncpg.Connection, name: str, arguments: tuple[Any, ...]) -> dict[str, Any]:
    """The plan of a query that the session has run often, with the rows that each node read."""
    sql = next(query.sql for query in all_queries() if query.name == name).rstrip().rstrip(";")
    await connection.execute(f"PREPARE often AS {sql}")
    values = ", ".join(map(literal, arguments))
    for _ in range(CUSTOM_PLANS):
        await connection.execute(f"EXECUTE often ({values})")
    plan = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE often ({values})")
    return orjson.loads(plan)[0]["Plan"]


def literal(value: Any) -> str:
    if isinstance(value, list):
        return f"'{{{','.join(map(str, value))}}}'"
    return "NULL" if value is None else f"'{value}'" if isinstance(value, str) and "(" not in value else str(value)
