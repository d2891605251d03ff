"""Wrong clocks: a failover to a database with another clock, and a worker whose clock is hours ahead."""

import time
from types import SimpleNamespace

import asyncpg
import pytest

from tests.integration.stream.deployment import StreamDeployment
from tests.integration.stream.in_process_worker import InProcessWorker
from worker.kafka import packing
from worker.settings import load
from worker.stream.control import Control
from worker.stream.ownership import LEASE_SECONDS, Ownership


async def test_a_dead_workers_lease_ends_in_time_after_a_failover_to_a_slower_clock(
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
    ownership = Ownership("delivery", Control(settings))

    await ownership.join()
    claimed = list(ownership.claimed.values())
    await ownership.leave()
    await database.close()

    latest_ms = time.time() * 1000 + LEASE_SECONDS * 1000
    assert len(claimed) == settings.topic_partitions
    assert all(
        claim.former_lease_until_ms is not None and claim.former_lease_until_ms <= latest_ms for claim in claimed
    )


async def test_a_worker_with_a_clock_hours_ahead_reports_it_and_resumes_once_it_is_set(
    deployment: StreamDeployment, monkeypatch: pytest.MonkeyPatch
):
    await deployment.send("order-1")
    hours_ns = 3 * 3_600 * 10**9
    monkeypatch.setattr(packing, "time", SimpleNamespace(time_ns=lambda: time.time_ns() + hours_ns))

    worker = InProcessWorker(deployment.settings)

    async def clock_is_reported() -> bool:
        return "set this machine's clock" in worker.runner.condition().get("problem", "")

    await deployment.until(clock_is_reported, "the clock reported")
    monkeypatch.undo()

    await deployment.check_orders({"order-1": 1})
    await worker.stop()
