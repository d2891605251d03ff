"""Each request in flight is an open file; shells, systemd and containers limit them to a low number by default."""

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


async def test_more_hanging_requests_than_the_file_limit_delay_no_other_connector(
    stack: StackEnv, tmp_path: Path, topic_prefix: str
) -> None:
    hanging = list(erp_orders(2 * FILES, ["cielo"], 5, "hangs"))
    [healthy] = erp_orders(1, ["rede"], 6, "healthy")

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
        await publish(sandbox.settings, [healthy])
        await until(lambda: is_done(sandbox.poll(), healthy), SECONDS_MAX)
        requests = (await (await client.get(f"{sandbox.urls['cielo']}/book")).json())["requests"]
        sandbox.processes.kill("delivery")  # a drain would wait for the answers

    assert len(requests) > FILES, "each hanging request has a file"
