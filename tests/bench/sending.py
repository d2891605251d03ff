"""Shared by the delivery benchmarks: commands as the ledger publishes them, and the sandbox connector as a program."""

import json
import re
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from tests.bench.deployment import PARTITIONS, POLL_SECONDS, Deployment
from tests.bench.load import home
from worker.kafka import envelope, names
from worker.kafka.records import Outgoing

IN_FLIGHT = 512
_AT = "2026-01-15T12:00:00Z"


def command(number: int, connector_name: str = "acme") -> dict[str, Any]:
    """A command to settle; each number has its own order and payment."""
    order_id = f"order-{number:07}"
    return {
        "commandId": f"command-{number:07}-0123456789abcdef", "requestId": f"request-{number:07}-0123456789abcdef",
        "orderId": order_id, "paymentId": f"{order_id}-card", "transactionId": f"{order_id}-T",
        "authorizationId": f"{order_id}-A", "connector": connector_name, "merchant": "bench-store", "currency": "BRL",
        "value": 1_000, "sequence": 1, "cause": {"kind": "invoice", "id": "N1"}, "retryOf": None, "settleId": None,
        "tid": f"{order_id}-tid", "nsu": None, "recipients": None, "issuedAt": _AT,
    }  # fmt: skip


def commands(first: int, count: int, connector_name: str = "acme") -> Iterator[Outgoing]:
    """The records of `count` commands."""
    for number in range(first, first + count):
        data = command(number, connector_name)
        order_id = data["orderId"]
        headers = envelope.binary_headers("command.settle", data["commandId"], _AT)
        yield Outgoing(names.COMMANDS, home(order_id, PARTITIONS), order_id.encode(), orjson.dumps(data), headers)


def connector(deployment: Deployment, name: str, *arguments: str, port: int = 0, **keys: object) -> str:
    """Starts a sandbox connector and adds it to the deployment's connectors file; returns its address."""
    log = deployment.folder / f"{name}.log"
    deployment.start("worker", "sandbox", "connector", "--port", str(port), *arguments, log=log)
    while not (match := re.search(r"http://\S+", log.read_text())):
        deployment.raise_if_exited()
        time.sleep(POLL_SECONDS)
    url = match.group()
    table = {"url": url, "protocol": "ppp", "mode": "PARTIAL", "max_in_flight": IN_FLIGHT, **keys}
    lines = [f"[connectors.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    file = Path(deployment.environment["CONNECTORS_FILE"])
    others = re.sub(rf"\[connectors\.{name}\][^\[]*", "", file.read_text())
    file.write_text(others + "\n".join(lines) + "\n")
    return url


def book(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/book", timeout=60) as reply:
        content: dict[str, Any] = json.load(reply)
        return content


def metric(address: str, name: str) -> float:
    """The current value of a worker's metric, summed over its labels."""
    with urllib.request.urlopen(f"{address}/metrics", timeout=5) as reply:
        text = reply.read().decode()
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))


def plan_fault(url: str, word: str, seconds: int) -> None:
    """Makes a sandbox connector answer all requests with one fault for some seconds."""
    plan = json.dumps({"all": word, "for_seconds": seconds}).encode()
    request = urllib.request.Request(f"{url}/faults", plan, {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=10).close()
