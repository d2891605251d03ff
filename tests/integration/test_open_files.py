"""A request under way is an open file, of which shells, systemd and containers allow a program few to begin with."""

import asyncio
from pathlib import Path

import aiohttp

from tests.until import until
from worker.sandbox.deployment import Sandbox, is_done
from worker.sandbox.erp import erp_orders
from worker.sandbox.erp_command import publish
from worker.sandbox.processes import SETTLEMENT
from worker.stack import StackEnv

SECONDS_MAX = 60
FILES = 128
TIGHT = ("sh", "-c", f'ulimit -S -n {FILES}; exec "$@"', "sh", *SETTLEMENT)


async def test_connectors_that_hang_with_more_requests_than_a_shell_allows_files_hold_up_nobody_else(
    stack: StackEnv, tmp_path: Path, topic_prefix: str
) -> None:
    hanging = list(erp_orders(2 * FILES, ["cielo"], 5, "hangs"))
    [well] = erp_orders(1, ["rede"], 6, "well")

    sandbox = Sandbox(f"files_{topic_prefix.strip('.')}", tmp_path, stack.as_settings())
    async with sandbox, asyncio.timeout(SECONDS_MAX), aiohttp.ClientSession() as client:
        sandbox.processes.kill("delivery")
        file = sandbox.folder / "connectors.toml"
        file.write_text(file.read_text().replace("timeout_seconds = 2", "timeout_seconds = 600\nmax_in_flight = 1000"))
        silence = {"all": "silence", "for_seconds": 600}
        (await client.post(f"{sandbox.urls['cielo']}/faults", json=silence)).raise_for_status()
        sandbox.processes.start("delivery", "delivery", program=TIGHT)

        await publish(sandbox.settings, hanging)
        await until(lambda: sandbox.poll().events["settlement.requested"] >= len(hanging), SECONDS_MAX)
        await publish(sandbox.settings, [well])
        await until(lambda: is_done(sandbox.poll(), well), SECONDS_MAX)
        heard = (await (await client.get(f"{sandbox.urls['cielo']}/book")).json())["requests"]
        sandbox.processes.kill("delivery")  # a drain would wait for the answers

    assert len(heard) > FILES, "so many hang, and each has a file"
