"""What the delivery benchmarks share: commands as the ledger publishes them, and the sandbox connector as a program."""

import json
import re
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from tests.bench.deployment import LOOK_SECONDS, PARTITIONS, Deployment
from tests.bench.load import home
from worker.kafka import envelope, names
from worker.kafka.records import Outgoing

IN_FLIGHT = 512
_AT = "2026-01-15T12:00:00Z"


def command(number: int, connector_name: str = "acme") -> dict[str, Any]:
    """The settle of a payment of its own."""
    order_id = f"order-{number:07}"
    return {
        "commandId": f"command-{number:07}-0123456789abcdef", "requestId": f"request-{number:07}-0123456789abcdef",
        "orderId": order_id, "paymentId": f"{order_id}-card", "transactionId": f"{order_id}-T",
        "authorizationId": f"{order_id}-A", "connector": connector_name, "merchant": "bench-store", "currency": "BRL",
        "value": 1_000, "sequence": 1, "cause": {"kind": "invoice", "id": "N1"}, "retryOf": None, "settleId": None,
        "tid": f"{order_id}-tid", "nsu": None, "recipients": None, "issuedAt": _AT,
    }  # fmt: skip


def commands(first: int, count: int, connector_name: str = "acme") -> Iterator[Outgoing]:
    """Their records."""
    for number in range(first, first + count):
        data = command(number, connector_name)
        order_id = data["orderId"]
        headers = envelope.write("command.settle", data["commandId"], _AT)
        yield Outgoing(names.COMMANDS, home(order_id, PARTITIONS), order_id.encode(), orjson.dumps(data), headers)


def connector(here: Deployment, name: str, *arguments: str, port: int = 0, **keys: object) -> str:
    """Starts a sandbox connector and names it in the deployment's file; gives its address."""
    log = here.folder / f"{name}.log"
    here.start("worker", "sandbox", "connector", "--port", str(port), *arguments, log=log)
    while not (found := re.search(r"http://\S+", log.read_text())):
        here.look_after()
        time.sleep(LOOK_SECONDS)
    url = found.group()
    table = {"url": url, "protocol": "ppp", "mode": "PARTIAL", "max_in_flight": IN_FLIGHT, **keys}
    lines = [f"[connectors.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    file = Path(here.environment["CONNECTORS_FILE"])
    others = re.sub(rf"\[connectors\.{name}\][^\[]*", "", file.read_text())
    file.write_text(others + "\n".join(lines) + "\n")
    return url


def book(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/book", timeout=60) as reply:
        found: dict[str, Any] = json.load(reply)
        return found


def metric(address: str, name: str) -> float:
    """The sum of a metric over its labels, as the worker tells it now."""
    with urllib.request.urlopen(f"{address}/metrics", timeout=5) as reply:
        text = reply.read().decode()
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))


def misbehave(url: str, word: str, seconds: int) -> None:
    """What a sandbox connector does with every request from now on, for so long."""
    asked = json.dumps({"all": word, "for_seconds": seconds}).encode()
    request = urllib.request.Request(f"{url}/faults", asked, {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=10).close()
