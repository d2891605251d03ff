"""The database and the broker are killed under the workers, which wait, resume by themselves and lose nothing."""

import asyncio
import signal
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from tests.integration.stream.deployment import StreamDeployment, deployed, environment_of
from tests.integration.stream.in_process_worker import InProcessWorker
from tests.sandboxes import SECONDS_MAX, final_verdict, new_sandbox, until_published
from tests.striking import strike
from worker.postgres.migrations import migrate
from worker.sandbox.deployment import CONNECTORS
from worker.sandbox.erp import erp_orders
from worker.sandbox.erp_command import publish
from worker.stack import down, up

STRIKES = ("postgres", "kafka", "postgres")
ORDERS_PER_STRIKE = 75


@pytest.fixture(scope="module")
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home of a running stack of this module alone, whose servers the tests may kill."""
    home = tmp_path_factory.mktemp("servers") / "home"
    try:
        up(home)
        yield home
    finally:
        down(home)


async def test_no_cent_is_lost_or_moved_twice_when_the_database_and_the_broker_are_killed(
    own_home: Path, tmp_path: Path
) -> None:
    orders = list(erp_orders((len(STRIKES) + 1) * ORDERS_PER_STRIKE, sorted(CONNECTORS), 11, "servers"))
    remaining = iter(orders)

    async with new_sandbox(tmp_path, up(own_home)) as sandbox, asyncio.timeout(SECONDS_MAX):
        for service in STRIKES:
            before = sandbox.poll().events["settlement.confirmed"]
            await publish(sandbox.settings, islice(remaining, ORDERS_PER_STRIKE))
            await until_published(sandbox, "settlement.confirmed", before + ORDERS_PER_STRIKE // 2)
            await strike(own_home, service, signal.SIGKILL)
            await asyncio.to_thread(up, own_home)
        await publish(sandbox.settings, remaining)
        verdict = await final_verdict(sandbox, orders)

    assert verdict.good, verdict


async def test_a_worker_is_not_ready_while_the_broker_is_frozen_and_resumes_with_it(
    own_home: Path, tmp_path: Path
) -> None:
    stack = up(own_home)
    await migrate(stack.database_url)
    environment = environment_of(stack, stack.database_url, "frozen.", tmp_path)
    async with deployed(environment, tmp_path) as deployment:
        await _freeze_the_broker(deployment, own_home)


async def _freeze_the_broker(deployment: StreamDeployment, home: Path) -> None:
    worker = InProcessWorker(deployment.settings)
    records = [(f"order-{number % 10}", b"{}", None) for number in range(50)]
    await deployment.send_many(records)
    await deployment.until_seen(50)

    async def not_ready() -> bool:
        return bool(worker.runner.condition())

    async def ready() -> bool:
        return not worker.runner.condition()

    await strike(home, "kafka", signal.SIGSTOP)
    try:
        await deployment.until(not_ready, "the worker is not ready")
    finally:
        await strike(home, "kafka", signal.SIGCONT)
    await deployment.until(ready, "the worker is ready again")
    await deployment.send_many(records)

    await deployment.check_orders({f"order-{number}": 10 for number in range(10)})
    await worker.stop()
