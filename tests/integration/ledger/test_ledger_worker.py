"""The worker as a process, on a real broker: reads, waits for the connectors file, and drains."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson

from tests.integration.ledger.world import CONNECTORS, authorized, invoice
from tests.integration.stream.world import World
from worker.kafka import names


def holds_back(pid: int, number: signal.Signals) -> bool:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(status["SigBlk"], 16) & 1 << (number - 1))


def start(world: World) -> subprocess.Popen[bytes]:
    with (world.folder / "ledger.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", "ledger"], env=os.environ | world.environment, stdout=log, stderr=log
        )
    world.processes["ledger"] = process
    return process


async def send(world: World, kind: str, data: dict[str, Any], topic: str) -> None:
    envelope = {"specversion": "1.0", "id": "x", "source": "/test", "type": kind, "data": data}
    await world.send(data["orderId"], json.dumps(envelope).encode(), topic=topic)


def states(world: World) -> list[dict[str, Any]]:
    return [orjson.loads(one.value or b"") for one in world.outputs if one.topic == names.ORDERS]


async def signaled_while_it_starts(world: World, number: signal.Signals) -> subprocess.Popen[bytes]:
    process = start(world)

    async def listens_later() -> bool:
        return holds_back(process.pid, number)

    await world.until(listens_later, "a worker that holds signals back until it listens")
    process.send_signal(number)
    return process


async def test_a_worker_that_is_told_to_end_while_it_starts_ends_in_order(world: World):
    process = await signaled_while_it_starts(world, signal.SIGTERM)
    assert await asyncio.to_thread(process.wait, 30) == 0


async def test_a_worker_that_is_told_to_read_its_file_again_while_it_starts_goes_on_starting(world: World):
    await signaled_while_it_starts(world, signal.SIGHUP)

    async def owns_partitions() -> bool:
        owners = await world.owners()
        return bool(owners) and all(owners.values())

    await world.until(owns_partitions, "a worker that has taken its partitions")
    assert await world.stop("ledger") == 0


async def test_a_worker_reads_waits_for_its_file_and_drains(world: World):
    process = start(world)
    await send(world, "invoice.issued", invoice("o1", "1", 6000), names.INVOICES)
    order = authorized("o1", payments=[{"value": 10_000, "connector": "c2"}])
    await send(world, "order.authorized", order, names.ORDER_CHANGES)

    async def opened() -> bool:
        return any(one["orderId"] == "o1" for one in states(world))

    await world.until(opened, "the order's first state")
    assert states(world)[-1]["mode"] is None
    assert await world.database.fetchval("SELECT count(*) FROM ledger.commands") == 0

    (world.folder / "connectors.toml").write_text(CONNECTORS.replace("connectors.c1", "connectors.c2"))
    process.send_signal(signal.SIGHUP)

    async def settling() -> bool:
        return any(one["settling"] == 6000 for one in states(world))

    await world.until(settling, "the settle that waited for its connector")
    await world.until_quiet()
    assert await world.stop("ledger") == 0
    assert '"code": "unknown_connector"' in world.log("ledger")
