"""Each test here has a deployment of its own: a database, topics, and workers that can be killed."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.stream.world import PARTITIONS, World
from worker.stack import StackEnv


@pytest.fixture
def environment(stack: StackEnv, database_url: str, topic_prefix: str) -> dict[str, str]:
    """The settings of one deployment."""
    return {
        "KAFKA_BOOTSTRAP_SERVERS": stack.bootstrap_servers,
        "DATABASE_URL": database_url,
        "TOPIC_PREFIX": topic_prefix,
        "TOPIC_PARTITIONS": str(PARTITIONS),
    }


@pytest.fixture
async def world(environment: dict[str, str], tmp_path: Path) -> AsyncIterator[World]:
    """A deployment with the toy as its feature."""
    world = World(environment, tmp_path)
    try:
        await world.open()
        yield world
    finally:
        await world.close()
