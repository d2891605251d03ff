"""A worker is killed at every named step, and each command still has one effect."""

import asyncio
import signal
from pathlib import Path

import pytest

from tests.chaos.crashing import PROGRAM, STEPS
from tests.sandboxes import SECONDS_MAX, final_verdict, new_sandbox
from worker.sandbox.deployment import CONNECTORS
from worker.sandbox.erp import erp_orders
from worker.sandbox.erp_command import publish
from worker.stack import StackEnv

ORDERS = 15


@pytest.mark.parametrize("worker", ["delivery"])
async def test_a_worker_killed_at_any_step_leaves_one_effect_per_command(
    stack: StackEnv, tmp_path: Path, worker: str
) -> None:
    steps = [name for name in STEPS if name.startswith(f"{worker}:")]
    orders = []

    async with new_sandbox(tmp_path, stack) as sandbox, asyncio.timeout(SECONDS_MAX):
        sandbox.processes.stop(worker)
        for number, step in enumerate(steps):
            sandbox.processes.start(worker, step, worker, program=PROGRAM)
            batch = list(erp_orders(ORDERS, sorted(CONNECTORS), number, f"crash-{number}"))
            await publish(sandbox.settings, batch)
            code = await asyncio.to_thread(sandbox.processes.wait, worker, 60)
            assert code == -signal.SIGKILL, f"the step {step!r} was not reached"
            orders += batch
        sandbox.processes.start(worker, worker)
        verdict = await final_verdict(sandbox, orders)
        effects = await sandbox.effects()

    assert verdict.good, verdict
    assert len({(effect.payment_id, effect.request_id) for effect in effects}) == len(effects)
