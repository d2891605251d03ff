"""The ledger worker as a process on a real broker: signals, the connectors file, and draining."""

import json
import signal
from pathlib import Path
from typing import Any

import orjson

from tests.integration.ledger.harness import CONNECTORS, authorized, invoice
from tests.integration.stream.deployment import LEDGER, StreamDeployment
from worker.kafka import names


def blocks_signal(pid: int, number: signal.Signals) -> bool:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(status["SigBlk"], 16) & 1 << (number - 1))


async def send(deployment: StreamDeployment, kind: str, data: dict[str, Any], topic: str) -> None:
    envelope = {"specversion": "1.0", "id": "x", "source": "/test", "type": kind, "data": data}
    await deployment.send(data["orderId"], json.dumps(envelope).encode(), topic=topic)


def states(deployment: StreamDeployment) -> list[dict[str, Any]]:
    return [orjson.loads(record.value or b"") for record in deployment.outputs if record.topic == names.ORDERS]


async def start_and_signal(deployment: StreamDeployment, number: signal.Signals) -> None:
    process = deployment.start("ledger", LEDGER)

    async def blocks_it() -> bool:
        return blocks_signal(process.pid, number)

    await deployment.until(blocks_it, "a starting worker that blocks the signal")
    process.send_signal(number)


async def test_a_worker_that_gets_sigterm_while_it_starts_stops_in_order(deployment: StreamDeployment):
    await start_and_signal(deployment, signal.SIGTERM)
    assert await deployment.exit_code("ledger") == 0


async def test_a_worker_that_gets_sighup_while_it_starts_goes_on_starting(
    deployment: StreamDeployment,
):
    await start_and_signal(deployment, signal.SIGHUP)

    async def owns_partitions() -> bool:
        owners = await deployment.owners()
        return bool(owners) and all(owners.values())

    await deployment.until(owns_partitions, "a worker that has taken its partitions")
    assert await deployment.stop("ledger") == 0


async def test_a_worker_reads_waits_for_a_connector_in_its_file_and_drains(deployment: StreamDeployment):
    process = deployment.start("ledger", LEDGER)
    await send(deployment, "invoice.issued", invoice("o1", "1", 6000), names.INVOICES)
    order = authorized("o1", payments=[{"value": 10_000, "connector": "c2"}])
    await send(deployment, "order.authorized", order, names.ORDER_CHANGES)

    async def opened() -> bool:
        return any(state["orderId"] == "o1" for state in states(deployment))

    await deployment.until(opened, "the order's first state")
    assert states(deployment)[-1]["mode"] is None
    assert await deployment.database.fetchval("SELECT count(*) FROM ledger.commands") == 0

    (deployment.folder / "connectors.toml").write_text(CONNECTORS.replace("connectors.c1", "connectors.c2"))
    process.send_signal(signal.SIGHUP)

    async def settling() -> bool:
        return any(state["settling"] == 6000 for state in states(deployment))

    await deployment.until(settling, "the settle that waited for its connector")
    await deployment.until_quiet()
    assert await deployment.stop("ledger") == 0
    assert '"code": "unknown_connector"' in deployment.log("ledger")
