"""The worker as a process, on a real broker: reads, waits for the connectors file, and drains."""

import asyncio
import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import orjson

from tests.integration.ledger.harness import CONNECTORS, authorized, invoice
from tests.integration.stream.deployment import LEDGER, StreamDeployment
from worker.kafka import names


def holds_back(pid: int, number: signal.Signals) -> bool:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(status["SigBlk"], 16) & 1 << (number - 1))


async def send(deployment: StreamDeployment, kind: str, data: dict[str, Any], topic: str) -> None:
    envelope = {"specversion": "1.0", "id": "x", "source": "/test", "type": kind, "data": data}
    await deployment.send(data["orderId"], json.dumps(envelope).encode(), topic=topic)


def states(deployment: StreamDeployment) -> list[dict[str, Any]]:
    return [orjson.loads(one.value or b"") for one in deployment.outputs if one.topic == names.ORDERS]


async def signaled_while_it_starts(deployment: StreamDeployment, number: signal.Signals) -> subprocess.Popen[bytes]:
    process = deployment.start("ledger", LEDGER)

    async def listens_later() -> bool:
        return holds_back(process.pid, number)

    await deployment.until(listens_later, "a worker that holds signals back until it listens")
    process.send_signal(number)
    return process


async def test_a_worker_that_is_told_to_end_while_it_starts_ends_in_order(deployment: StreamDeployment):
    process = await signaled_while_it_starts(deployment, signal.SIGTERM)
    assert await asyncio.to_thread(process.wait, 30) == 0


async def test_a_worker_that_is_told_to_read_its_file_again_while_it_starts_goes_on_starting(
    deployment: StreamDeployment,
):
    await signaled_while_it_starts(deployment, signal.SIGHUP)

    async def owns_partitions() -> bool:
        owners = await deployment.owners()
        return bool(owners) and all(owners.values())

    await deployment.until(owns_partitions, "a worker that has taken its partitions")
    assert await deployment.stop("ledger") == 0


async def test_a_worker_reads_waits_for_its_file_and_drains(deployment: StreamDeployment):
    process = deployment.start("ledger", LEDGER)
    await send(deployment, "invoice.issued", invoice("o1", "1", 6000), names.INVOICES)
    order = authorized("o1", payments=[{"value": 10_000, "connector": "c2"}])
    await send(deployment, "order.authorized", order, names.ORDER_CHANGES)

    async def opened() -> bool:
        return any(one["orderId"] == "o1" for one in states(deployment))

    await deployment.until(opened, "the order's first state")
    assert states(deployment)[-1]["mode"] is None
    assert await deployment.database.fetchval("SELECT count(*) FROM ledger.commands") == 0

    (deployment.folder / "connectors.toml").write_text(CONNECTORS.replace("connectors.c1", "connectors.c2"))
    process.send_signal(signal.SIGHUP)

    async def settling() -> bool:
        return any(one["settling"] == 6000 for one in states(deployment))

    await deployment.until(settling, "the settle that waited for its connector")
    await deployment.until_quiet()
    assert await deployment.stop("ledger") == 0
    assert '"code": "unknown_connector"' in deployment.log("ledger")
