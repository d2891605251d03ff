"""However many rows wait, what workers and operators look for among them is found without reading all of them."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import orjson
import pytest

from worker.people import discarding
from worker.people.dead_letters import Filter
from worker.postgres.connecting import connect
from worker.postgres.queries import all_queries

WAITING = 2_000
PARTITIONS = [0, 1, 2, 3]
LOOKED_AT_MAX = 10
# After so many plans of its own for a statement, PostgreSQL considers one for all values.
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
INSERT INTO delivery.commands (command_id, partition, order_id, payment_id, sequence, operation, connector, value,
    topic, source_partition, "offset", body, headers, "timestamp", due_at, taken_at, turn, state, uncertain,
    first_attempt_at, ended_at)
SELECT kind || n, n % 4, kind || n, kind || n, 1, 'settle', 'c1', 1, 't', 0, n, '{{}}', '', now(), now(), now(), true,
    CASE kind WHEN 'u' THEN 'unknown' WHEN 'd' THEN 'declined' ELSE 'waiting' END, kind IN ('u', 'w'),
    CASE WHEN n <= 3 THEN now() - interval '2 h' ELSE now() END,
    CASE WHEN kind <> 'w' THEN now() - n * interval '1 s' END
FROM generate_series(1, {WAITING}) AS n, unnest('{{u,d,w}}'::text[]) AS kind;
INSERT INTO delivery.decisions (action, partition, order_id, command_id, decided_by, reason)
SELECT 'retry', partition, order_id, command_id, 'ana', 'the acquirer is back'
FROM delivery.commands WHERE state = 'unknown' ORDER BY partition DESC;
INSERT INTO delivery.dead_letters (topic, partition, "offset", order_id, reason, message, headers, "timestamp", dead_at)
SELECT topic, source_partition, "offset", order_id, 'declined', '', '', now(), now() FROM delivery.commands
WHERE state = 'declined';
"""


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(database_url, name="test", schema="ledger")
    await connection.execute(FILLED)
    await connection.execute("VACUUM ANALYZE")
    yield connection
    await connection.close()


@pytest.mark.parametrize(("schema", "name", "arguments", "rows"), [
    ("ledger", "named_orders", (PARTITIONS, ["c1", "c2"], LOOKED_AT_MAX, ["o1"]), 2),
    ("delivery", "past_horizon", ("c1", "now() - interval '1 h'", PARTITIONS, LOOKED_AT_MAX), 3),
    ("delivery", "waiting_decisions", ([0], LOOKED_AT_MAX), LOOKED_AT_MAX),
    ("ledger", "orders_needing_people", (None, None, LOOKED_AT_MAX, STATES), LOOKED_AT_MAX),
    ("ledger", "orders_needing_people", ("u7", None, LOOKED_AT_MAX, STATES), 1),
    ("ledger", "commands_needing_people", (["u1", "d1"], None, STATES[:3], None, LOOKED_AT_MAX), 2 + LOOKED_AT_MAX),
    ("ledger", "commands_needing_people", (["u1"], "u7", STATES[:3], None, LOOKED_AT_MAX), 2),
])  # fmt: skip
async def test_a_look_reads_only_a_small_part_of_what_waits(
    connection: asyncpg.Connection, schema: str, name: str, arguments: tuple[Any, ...], rows: int
):
    await connection.execute(f"SET search_path TO {schema}")

    found = await explained(connection, name, arguments)

    assert found["Actual Rows"] == rows
    assert sum(rows_read(node) for node in nodes(found)) <= WAITING / 10


@pytest.mark.parametrize(("name", "table"), [
    ("count_unresolved", "commands"), ("count_open_dead_letters", "dead_letters")])  # fmt: skip
async def test_what_waits_is_counted_in_an_index_alone(connection: asyncpg.Connection, name: str, table: str):
    await connection.execute("SET search_path TO delivery")

    found = [node for node in nodes(await explained(connection, name, (PARTITIONS,))) if node.get("Relation Name")]

    assert [(node["Relation Name"], node["Node Type"]) for node in found] == [(table, "Index Only Scan")]


async def test_a_discard_asks_for_many_commands_at_once_whether_a_person_decides(connection: asyncpg.Connection):
    queries: list[str] = []
    connection.add_query_logger(lambda done: queries.append(done.query))

    found = await discarding.foresee(connection, Filter())

    assert (found.number, found.decided_instead) == (0, WAITING)
    assert len(queries) < WAITING / 100


async def explained(connection: asyncpg.Connection, name: str, arguments: tuple[Any, ...]) -> dict[str, Any]:
    """The plan that a session has for a query which it has run often, with the rows that each node read."""
    sql = next(query.sql for query in all_queries() if query.name == name).rstrip().rstrip(";")
    await connection.execute(f"PREPARE looked AS {sql}")
    values = ", ".join(map(literal, arguments))
    for _ in range(CUSTOM_PLANS):
        await connection.execute(f"EXECUTE looked ({values})")
    found = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE looked ({values})")
    return orjson.loads(found)[0]["Plan"]


def literal(value: Any) -> str:
    if isinstance(value, list):
        return f"'{{{','.join(map(str, value))}}}'"
    return "NULL" if value is None else f"'{value}'" if isinstance(value, str) and "(" not in value else str(value)


def rows_read(node: dict[str, Any]) -> int:
    """How many rows of a table of ours this node read."""
    if "Relation Name" not in node:
        return 0
    return round(node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)))


def nodes(one: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield one
    for child in one.get("Plans", ()):
        yield from nodes(child)
