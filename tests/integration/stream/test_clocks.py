"""The clock of a database is not the same after a fail-over, and ours may be wrong by hours."""

import time
from types import SimpleNamespace

import asyncpg
import pytest

from tests.integration.stream.deployment import StreamDeployment
from tests.integration.stream.hosted import Hosted
from worker.kafka import packing
from worker.settings import load
from worker.stream.control import Control
from worker.stream.ownership import LEASE_SECONDS, Ownership


async def test_a_dead_worker_holds_nothing_up_for_longer_than_its_lease_where_the_new_primarys_clock_is_slow(
    database_url: str,
):
    settings = load({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "DATABASE_URL": database_url})
    database = await asyncpg.connect(database_url)
    await database.execute(
        "INSERT INTO delivery.members (member_id, host, backend_pid, backend_start, lease_until) "
        "VALUES ('gone', 'old', 0, clock_timestamp(), clock_timestamp() + interval '1 hour')"
    )
    await database.execute(
        "INSERT INTO delivery.partitions (partition, owner) SELECT *, 'gone' FROM generate_series(0, $1::integer - 1)",
        settings.topic_partitions,
    )
    ownership = Ownership(database_url, "delivery", settings.topic_partitions, Control(settings))

    await ownership.join()
    claimed = list(ownership.claimed.values())
    await ownership.leave()
    await database.close()

    latest_ms = time.time() * 1000 + LEASE_SECONDS * 1000
    assert len(claimed) == settings.topic_partitions
    assert all(one.former_lease_until_ms is not None and one.former_lease_until_ms <= latest_ms for one in claimed)


async def test_a_worker_whose_clock_is_hours_ahead_names_the_clock_and_goes_on_once_it_is_set(
    deployment: StreamDeployment, monkeypatch: pytest.MonkeyPatch
):
    await deployment.send("order-1")
    hours_ns = 3 * 3_600 * 10**9
    monkeypatch.setattr(packing, "time", SimpleNamespace(time_ns=lambda: time.time_ns() + hours_ns))

    worker = Hosted(deployment.settings)

    async def named() -> bool:
        return "set this machine's clock" in worker.runner.condition().get("problem", "")

    await deployment.until(named, "the clock named")
    monkeypatch.undo()

    await deployment.check_orders({"order-1": 1})
    await worker.stop()
