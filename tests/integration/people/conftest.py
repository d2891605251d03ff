"""The fixture of a ledger that reads real topics in cycles that the test runs."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.people.ledger_on_kafka import LedgerOnKafka
from worker.postgres.connecting import connect
from worker.stack import StackEnv


@pytest.fixture
async def ledger_on_kafka(
    stack: StackEnv, database_url: str, topic_prefix: str, tmp_path: Path
) -> AsyncIterator[LedgerOnKafka]:
    """A ledger with topics and a database of its own."""
    connection = await connect(  # a cycle of many records may take long where many tests share a machine
        database_url, name="test", schema="ledger", idle_in_transaction_session_timeout="0"
    )
    ledger = LedgerOnKafka(connection, database_url, tmp_path, stack.bootstrap_servers, topic_prefix)
    try:
        await ledger.open()
        yield ledger
    finally:
        await ledger.close()
        await connection.close()
