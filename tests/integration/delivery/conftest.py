"""Each test here has a database and a connector of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.delivery.world import DeliveryWorld
from worker.postgres.connecting import connect


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[DeliveryWorld]:
    """A delivery worker that owns every partition."""
    connection = await connect(database_url, name="delivery-test", schema="delivery")
    world = DeliveryWorld(connection, database_url, tmp_path)
    await world.open()
    try:
        await world.take_partitions()
        yield world
    finally:
        await world.close()
        await connection.close()
