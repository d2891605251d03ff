"""Each test here has a ledger and a database of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.ledger.deployed import deployed
from tests.integration.ledger.harness import LedgerHarness
from tests.integration.stream.deployment import StreamDeployment
from worker.postgres.connecting import connect
from worker.stack import StackEnv


@pytest.fixture
async def ledger(database_url: str, tmp_path: Path) -> AsyncIterator[LedgerHarness]:
    connection = await connect(database_url, name="test", schema="ledger")
    try:
        yield LedgerHarness(connection, database_url, tmp_path)
    finally:
        await connection.close()


@pytest.fixture
async def deployment(
    stack: StackEnv, database_url: str, topic_prefix: str, tmp_path: Path
) -> AsyncIterator[StreamDeployment]:
    """A deployment whose connectors file does not name `c2` yet."""
    async with deployed(stack, database_url, topic_prefix, tmp_path) as deployment:
        yield deployment
