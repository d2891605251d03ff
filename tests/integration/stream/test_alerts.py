"""What lasts in a worker can be seen from outside: beside its lease, for as long as it lasts."""

import json

import asyncpg

from tests.until import until
from worker import telemetry
from worker.settings import load
from worker.stream.control import Control
from worker.stream.ownership import Ownership


async def test_an_alert_stands_beside_its_workers_lease_until_it_is_over(database_url: str) -> None:
    settings = load({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "DATABASE_URL": database_url})
    database = await asyncpg.connect(database_url)
    ownership = Ownership(database_url, "delivery", settings.topic_partitions, Control(settings))
    await ownership.join()

    async def told() -> list[dict[str, str]]:
        lasting = json.loads(await database.fetchval("SELECT alerts FROM delivery.members"))
        return [one for one in lasting if one["connector"] == "alone"]  # others may last in this process

    telemetry.alert("breaker_open", "alone", why="connection refused")
    try:
        found = await until(told, seconds=20)  # the worker tells the database with its next beat
    finally:
        telemetry.clear_alert("breaker_open", "alone")

    async def over() -> bool:
        return not await told()

    await until(over, seconds=20)
    await ownership.leave()
    await database.close()

    assert [(one["code"], one["connector"], one["why"]) for one in found] == [
        ("breaker_open", "alone", "connection refused")
    ]
