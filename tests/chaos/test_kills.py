"""Workers die at any moment, again and again: no cent is lost, none is moved twice."""

import asyncio
import random
import secrets
from pathlib import Path

from tests.chaos.rehearsing import SECONDS_MAX, finished, rehearsal, until_told
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

    async with rehearsal(tmp_path, stack) as play, asyncio.timeout(SECONDS_MAX):
        sending = asyncio.create_task(publish(play.settings, told, per_second=ORDERS / 15))
        for _ in range(KILLS):
            await asyncio.sleep(dice.uniform(0.3, 2.0))
            victim = dice.choice(("ledger", "delivery"))
            play.processes.kill(victim)
            play.processes.start(victim, victim)
        await sending
        verdict = await finished(play, told)

    assert verdict.good, verdict


async def test_when_one_of_two_workers_dies_for_good_the_other_takes_over(stack: StackEnv, tmp_path: Path) -> None:
    told = list(erp_orders(TAKE_OVER_ORDERS, sorted(CONNECTORS), 7, "pair"))

    async with rehearsal(tmp_path, stack) as play, asyncio.timeout(SECONDS_MAX):
        play.processes.start("ledger-2", "ledger")
        play.processes.start("delivery-2", "delivery")
        sending = asyncio.create_task(publish(play.settings, told, per_second=TAKE_OVER_ORDERS / 6))
        await until_told(play, "settlement.confirmed", len(told) // 2)
        play.processes.kill("ledger")
        play.processes.kill("delivery")
        await sending
        verdict = await finished(play, told)

    assert verdict.good, verdict
