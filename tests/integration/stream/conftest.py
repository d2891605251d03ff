"""Each test here has a deployment of its own: a database, topics, and workers that can be killed."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.stream.deployment import PARTITIONS, StreamDeployment
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
async def deployment(environment: dict[str, str], tmp_path: Path) -> AsyncIterator[StreamDeployment]:
    """A deployment with the toy as its feature."""
    deployment = StreamDeployment(environment, tmp_path)
    try:
        await deployment.open()
        yield deployment
    finally:
        await deployment.close()
