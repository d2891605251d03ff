"""Every named query, and every query of the runbook, can be prepared on the migrated database."""

import re
from pathlib import Path

import asyncpg
import pytest

from worker.postgres.queries import ROLES, Query, all_queries

QUERIES = [(schema, query) for query in all_queries() for schema in ([query.schema] if query.schema else ROLES)]


@pytest.mark.parametrize(
    ("schema", "query"), QUERIES, ids=[f"{schema}:{query.file}:{query.name}" for schema, query in QUERIES]
)
async def test_a_named_query_can_be_prepared(schema_url: str, schema: str, query: Query):
    connection = await asyncpg.connect(schema_url, server_settings={"search_path": schema})

    await connection.prepare(query.sql)

    await connection.close()


async def test_every_query_of_the_runbook_can_be_prepared(schema_url: str, project: Path):
    blocks = re.findall(r"(?:^    .+\n)+", (project / "deploy/RUNBOOK.md").read_text(), re.MULTILINE)
    queries = [block for block in blocks if block.lstrip().startswith("SELECT")]
    connection = await asyncpg.connect(schema_url)

    for query in queries:
        await connection.prepare(query)

    assert len(queries) == 2
    await connection.close()
