"""Workers are killed at any moment, and no cent is lost or moved twice."""

import asyncio
import random
import secrets
from pathlib import Path

from tests.sandboxes import SECONDS_MAX, final_verdict, new_sandbox, until_published
from worker.sandbox.deployment import CONNECTORS
from worker.sandbox.erp import erp_orders
from worker.sandbox.erp_command import publish
from worker.stack import StackEnv

KILLS = 12
ORDERS_PER_KILL = 60
TAKE_OVER_ORDERS = 400
SIGNALS = ("settlement.requested", "settlement.confirmed")


async def test_no_cent_is_lost_or_moved_twice_when_workers_are_killed_at_random_moments(
    stack: StackEnv, tmp_path: Path
) -> None:
    """Each kill follows a random number of events after more orders, so that many of them are open."""
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    orders = list(erp_orders(KILLS * ORDERS_PER_KILL, sorted(CONNECTORS), seed, "chaos"))

    async with new_sandbox(tmp_path, stack) as sandbox, asyncio.timeout(SECONDS_MAX):
        for kill in range(KILLS):
            event, number = dice.choice(SIGNALS), dice.randrange(ORDERS_PER_KILL)
            before = sandbox.poll().events[event]
            await publish(sandbox.settings, orders[kill * ORDERS_PER_KILL : (kill + 1) * ORDERS_PER_KILL])
            await until_published(sandbox, event, before + number)
            victim = dice.choice(("ledger", "delivery"))
            sandbox.processes.kill(victim)
            sandbox.processes.start(victim, victim)
        verdict = await final_verdict(sandbox, orders)

    assert verdict.good, verdict


async def test_the_other_worker_takes_over_when_one_of_two_dies_for_good(stack: StackEnv, tmp_path: Path) -> None:
    orders = list(erp_orders(TAKE_OVER_ORDERS, sorted(CONNECTORS), 7, "pair"))
    half = len(orders) // 2

    async with new_sandbox(tmp_path, stack) as sandbox, asyncio.timeout(SECONDS_MAX):
        sandbox.processes.start("ledger-2", "ledger")
        sandbox.processes.start("delivery-2", "delivery")
        await publish(sandbox.settings, orders[:half])
        await until_published(sandbox, "settlement.confirmed", half // 2)
        sandbox.processes.kill("ledger")
        sandbox.processes.kill("delivery")
        await publish(sandbox.settings, orders[half:])
        verdict = await final_verdict(sandbox, orders)

    assert verdict.good, verdict
