"""Fixtures that several folders share: a ledger run cycle by cycle, deployments, a sandbox, and settings."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.ledger.harness import LedgerHarness
from tests.integration.stream.deployment import StreamDeployment, deployed, environment_of
from worker.postgres.connecting import connect
from worker.sandbox.deployment import Sandbox
from worker.settings import Settings, load
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
    """A database and topics of this test's own; the test starts the workers."""
    async with deployed(environment, tmp_path) as deployment:
        yield deployment


@pytest.fixture
async def sandbox(stack: StackEnv, tmp_path: Path) -> AsyncIterator[Sandbox]:
    """Both workers with two connectors, as processes."""
    async with Sandbox(f"sandbox_{secrets.token_hex(3)}", tmp_path, stack.as_settings()) as sandbox:
        yield sandbox


@pytest.fixture
def settings(stack: StackEnv, topic_prefix: str) -> Settings:
    """Settings with topics of this test's own, of three partitions each, which do not exist yet."""
    return load(stack.as_settings() | {"TOPIC_PREFIX": topic_prefix, "TOPIC_PARTITIONS": "3"})
