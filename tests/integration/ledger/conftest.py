"""Each test here has a ledger and a database of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.ledger.world import LedgerWorld
from worker.postgres.connecting import connect


@pytest.fixture
async def ledger(database_url: str, tmp_path: Path) -> AsyncIterator[LedgerWorld]:
    connection = await connect(database_url, name="test", schema="ledger")
    try:
        yield LedgerWorld(connection, database_url, tmp_path)
    finally:
        await connection.close()
