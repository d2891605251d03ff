"""The database and the broker die under the workers, which wait, go on by themselves, and lose nothing."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.stream.deployment import PARTITIONS, StreamDeployment
from tests.integration.stream.hosted import Hosted
from tests.sandboxes import SECONDS_MAX, final_verdict, new_sandbox, until_published
from tests.striking import strike
from worker.postgres.migrations import migrate
from worker.sandbox.deployment import CONNECTORS
from worker.sandbox.erp import erp_orders
from worker.sandbox.erp_command import publish
from worker.stack import down, up

ORDERS = 300
SECONDS = 10


@pytest.fixture
def own_home(tmp_path: Path) -> Iterator[Path]:
    """Of servers that nobody else needs; whoever starts them there need not stop them."""
    home = tmp_path / "home"
    try:
        yield home
    finally:
        down(home)


async def test_no_cent_is_lost_or_moved_twice_when_the_database_and_the_broker_are_killed(
    own_home: Path, tmp_path: Path
) -> None:
    told = list(erp_orders(ORDERS, sorted(CONNECTORS), 11, "servers"))
    stack = up(own_home)

    async with new_sandbox(tmp_path, stack) as sandbox, asyncio.timeout(SECONDS_MAX):
        sending = asyncio.create_task(publish(sandbox.settings, told, per_second=ORDERS / SECONDS))
        for service in ("postgres", "kafka", "postgres"):
            before = sandbox.poll().events["settlement.confirmed"]
            await until_published(sandbox, "settlement.confirmed", before + ORDERS // 8)
            await strike(own_home, service, signal.SIGKILL)
            await asyncio.to_thread(up, own_home)
        await sending
        verdict = await final_verdict(sandbox, told)

    assert verdict.good, verdict


async def test_beside_a_broker_that_says_nothing_a_worker_is_not_ready_and_goes_on_when_it_speaks(
    own_home: Path, tmp_path: Path
) -> None:
    stack = up(own_home)
    await migrate(stack.database_url)
    deployment = StreamDeployment(
        stack.as_settings() | {"TOPIC_PREFIX": "silent.", "TOPIC_PARTITIONS": str(PARTITIONS)}, tmp_path
    )
    await deployment.open()
    worker = Hosted(deployment.settings)
    records = [(f"order-{number % 10}", b"{}", None) for number in range(50)]
    await deployment.send_many(records)
    await deployment.until_seen(50)

    async def red() -> bool:
        return bool(worker.runner.condition())

    async def green() -> bool:
        return not worker.runner.condition()

    await strike(own_home, "kafka", signal.SIGSTOP)
    try:
        await deployment.until(red, "readiness gone")
    finally:
        await strike(own_home, "kafka", signal.SIGCONT)
    await deployment.until(green, "readiness back")
    await deployment.send_many(records)

    await deployment.check_orders({f"order-{number}": 10 for number in range(10)})
    await worker.stop()
    await deployment.close()
