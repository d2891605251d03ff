"""Each test here has a ledger and a database of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.ledger.deployed import deployed
from tests.integration.ledger.world import LedgerWorld
from tests.integration.stream.world import World
from worker.postgres.connecting import connect
from worker.stack import StackEnv


@pytest.fixture
async def ledger(database_url: str, tmp_path: Path) -> AsyncIterator[LedgerWorld]:
    connection = await connect(database_url, name="test", schema="ledger")
    try:
        yield LedgerWorld(connection, database_url, tmp_path)
    finally:
        await connection.close()


@pytest.fixture
async def world(stack: StackEnv, database_url: str, topic_prefix: str, tmp_path: Path) -> AsyncIterator[World]:
    """A deployment whose connectors file does not name `c2` yet."""
    async with deployed(stack, database_url, topic_prefix, tmp_path) as world:
        yield world
