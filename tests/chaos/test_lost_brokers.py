"""Brokers that some partitions cannot do without die under the workers, which go on with others and lose nothing."""

import asyncio
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from tests.brokers import FIRST, cluster, placed
from tests.sandboxes import SECONDS_MAX, final_verdict, new_sandbox, until_published
from worker.kafka import names, topics
from worker.sandbox.deployment import CONNECTORS
from worker.sandbox.erp import erp_orders
from worker.sandbox.erp_command import publish
from worker.stack import StackEnv

BROKERS = 3
ORDERS_PER_STRIKE = 60
FROM_THE_ERP = (names.INVOICES, names.ORDER_CHANGES)


def brokers_of_one(topic: str, partition: int) -> list[int]:
    """A partition of our topics has no leader without its only broker."""
    return [FIRST if topic in FROM_THE_ERP else FIRST + partition % BROKERS]


def brokers_of_two(topic: str, partition: int) -> list[int]:
    """A partition of our topics has too few replicas in sync without either of its brokers."""
    return [FIRST] if topic in FROM_THE_ERP else [FIRST, FIRST + 1 + partition % (BROKERS - 1)]


@pytest.mark.parametrize("brokers_of", [brokers_of_one, brokers_of_two])
async def test_no_cent_is_lost_or_moved_twice_when_brokers_that_some_partitions_need_are_killed(
    stack: StackEnv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, brokers_of: Callable[[str, int], list[int]]
) -> None:
    orders = list(erp_orders(2 * (BROKERS - 1) * ORDERS_PER_STRIKE, sorted(CONNECTORS), 13, "brokers"))
    remaining = iter(orders)

    async with cluster(tmp_path / "brokers", BROKERS) as (first, others):
        sandbox = new_sandbox(tmp_path, StackEnv(first.address, stack.database_url))
        monkeypatch.setattr(topics, "NewTopic", placed(sandbox.settings.topic_prefix, brokers_of))
        async with sandbox, asyncio.timeout(SECONDS_MAX):
            for broker in others:
                before = sandbox.poll().events["settlement.confirmed"]
                await publish(sandbox.settings, islice(remaining, ORDERS_PER_STRIKE))
                await until_published(sandbox, "settlement.confirmed", before + ORDERS_PER_STRIKE // 2)
                await asyncio.to_thread(broker.kill)
                before = sandbox.poll().events["settlement.confirmed"]
                await publish(sandbox.settings, islice(remaining, ORDERS_PER_STRIKE))
                await until_published(sandbox, "settlement.confirmed", before + ORDERS_PER_STRIKE)
                await asyncio.to_thread(broker.start)
            verdict = await final_verdict(sandbox, orders)

    assert verdict.good, verdict
