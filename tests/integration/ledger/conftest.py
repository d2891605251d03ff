"""Each test here has a ledger and a database of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.ledger.world import CONNECTORS, LedgerWorld
from tests.integration.stream.world import PARTITIONS, World
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
    (tmp_path / "connectors.toml").write_text(CONNECTORS)
    world = World({
        "KAFKA_BOOTSTRAP_SERVERS": stack.bootstrap_servers, "DATABASE_URL": database_url, "TOPIC_PREFIX": topic_prefix,
        "TOPIC_PARTITIONS": str(PARTITIONS), "CONNECTORS_FILE": str(tmp_path / "connectors.toml"),
    }, tmp_path)  # fmt: skip
    try:
        await world.open()
        yield world
    finally:
        await world.close()
