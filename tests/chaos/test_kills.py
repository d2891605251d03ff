"""Workers die at any moment, again and again: no cent is lost, none is moved twice."""

import asyncio
import random
import secrets
from pathlib import Path

from tests.sandboxes import SECONDS_MAX, final_verdict, new_sandbox, until_published
from worker.sandbox.deployment import CONNECTORS
from worker.sandbox.erp import erp_orders
from worker.sandbox.erp_command import publish
from worker.stack import StackEnv

ORDERS = 1200
KILLS = 12
TAKE_OVER_ORDERS = 400


async def test_no_cent_is_lost_or_moved_twice_when_workers_are_killed_at_random_moments(
    stack: StackEnv, tmp_path: Path
) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    told = list(erp_orders(ORDERS, sorted(CONNECTORS), seed, "chaos"))

    async with new_sandbox(tmp_path, stack) as sandbox, asyncio.timeout(SECONDS_MAX):
        sending = asyncio.create_task(publish(sandbox.settings, told, per_second=ORDERS / 15))
        for _ in range(KILLS):
            await asyncio.sleep(dice.uniform(0.3, 2.0))
            victim = dice.choice(("ledger", "delivery"))
            sandbox.processes.kill(victim)
            sandbox.processes.start(victim, victim)
        await sending
        verdict = await final_verdict(sandbox, told)

    assert verdict.good, verdict


async def test_when_one_of_two_workers_dies_for_good_the_other_takes_over(stack: StackEnv, tmp_path: Path) -> None:
    told = list(erp_orders(TAKE_OVER_ORDERS, sorted(CONNECTORS), 7, "pair"))

    async with new_sandbox(tmp_path, stack) as sandbox, asyncio.timeout(SECONDS_MAX):
        sandbox.processes.start("ledger-2", "ledger")
        sandbox.processes.start("delivery-2", "delivery")
        sending = asyncio.create_task(publish(sandbox.settings, told, per_second=TAKE_OVER_ORDERS / 6))
        await until_published(sandbox, "settlement.confirmed", len(told) // 2)
        sandbox.processes.kill("ledger")
        sandbox.processes.kill("delivery")
        await sending
        verdict = await final_verdict(sandbox, told)

    assert verdict.good, verdict
