"""A deployment of real workers with the ledger tests' connectors."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.integration.ledger.harness import CONNECTORS
from tests.integration.stream.deployment import PARTITIONS, StreamDeployment
from worker.stack import StackEnv


@asynccontextmanager
async def deployed(
    stack: StackEnv, database_url: str, topic_prefix: str, tmp_path: Path
) -> AsyncIterator[StreamDeployment]:
    """Its topics are there, nothing runs yet; what a test starts ends with it."""
    (tmp_path / "connectors.toml").write_text(CONNECTORS)
    deployment = StreamDeployment({
        "KAFKA_BOOTSTRAP_SERVERS": stack.bootstrap_servers, "DATABASE_URL": database_url, "TOPIC_PREFIX": topic_prefix,
        "TOPIC_PARTITIONS": str(PARTITIONS), "CONNECTORS_FILE": str(tmp_path / "connectors.toml"),
    }, tmp_path)  # fmt: skip
    try:
        await deployment.open()
        yield deployment
    finally:
        await deployment.close()
