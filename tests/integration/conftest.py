"""Fixtures of more than one folder below: a ledger turned by hand, and a whole deployment with workers in processes."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.ledger.harness import LedgerHarness
from tests.integration.stream.deployment import StreamDeployment, deployed, environment_of
from worker.postgres.connecting import connect
from worker.stack import StackEnv


@pytest.fixture
async def ledger(database_url: str, tmp_path: Path) -> AsyncIterator[LedgerHarness]:
    """A ledger that owns every partition of its own database."""
    connection = await connect(database_url, name="test", schema="ledger")
    try:
        yield LedgerHarness(connection, database_url, tmp_path)
    finally:
        await connection.close()


@pytest.fixture
def environment(stack: StackEnv, database_url: str, topic_prefix: str, tmp_path: Path) -> dict[str, str]:
    """The settings of `deployment`."""
    return environment_of(stack, database_url, topic_prefix, tmp_path)


@pytest.fixture
async def deployment(environment: dict[str, str], tmp_path: Path) -> AsyncIterator[StreamDeployment]:
    """A database and topics of this test's own; workers run once the test starts them."""
    async with deployed(environment, tmp_path) as deployment:
        yield deployment
