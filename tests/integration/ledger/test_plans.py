"""However large the ledger grows, what a cycle asks and writes is found through an index."""

from collections.abc import Iterator
from typing import Any

import asyncpg
import orjson

from tests.bench.growth import copy_order
from tests.integration.ledger.world import LedgerWorld, authorized, invoice
from worker.postgres.queries import Query, all_queries

COPIES = 3_000
HOT = ("worker/ledger/book.sql", "worker/stream/outbox.sql", "worker/stream/ownership.sql")
# Asked when somebody looks at the metrics, in a session of its own.
NOT_IN_A_CYCLE = ("count_parked", "count_open_dead_letters")
LARGE = ("orders", "payments", "settlements", "commands", "facts", "events", "entries", "parked")


async def test_no_query_of_a_cycle_reads_a_large_table_from_end_to_end(ledger: LedgerWorld):
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


async def plan(connection: asyncpg.Connection, query: Query) -> list[dict[str, Any]]:
    """The nodes of the plan that serves every value."""
    number = len((await connection.prepare(query.sql)).get_parameters())
    values = f"({', '.join(['NULL'] * number)})" if number else ""
    await connection.execute(f"PREPARE hot AS {query.sql}")
    found = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE hot {values}")
    await connection.execute("DEALLOCATE hot")
    return list(nodes(orjson.loads(found)[0]["Plan"]))


def nodes(one: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield one
    for child in one.get("Plans", ()):
        yield from nodes(child)
