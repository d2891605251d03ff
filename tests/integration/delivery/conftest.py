"""The fixture of a delivery worker with a database and a connector of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.delivery.harness import DeliveryHarness
from worker.postgres.connecting import connect


@pytest.fixture
async def delivery(database_url: str, tmp_path: Path) -> AsyncIterator[DeliveryHarness]:
    """A delivery worker that owns every partition."""
    connection = await connect(database_url, name="delivery-test", schema="delivery")
    delivery = DeliveryHarness(connection, database_url, tmp_path)
    await delivery.open()
    try:
        await delivery.take_partitions()
        yield delivery
    finally:
        await delivery.close()
        await connection.close()
