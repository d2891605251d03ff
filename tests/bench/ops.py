"""The ops view with 100,000 open orders: the time of its pages, its reading speed and its memory."""

import asyncio
import socket
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime

import aiohttp
import msgspec
import orjson
import psutil

from tests.bench import page
from tests.bench.deployment import Deployment, fresh_deployment
from worker.domain.decide import decide
from worker.domain.facts import Authorization, InvoiceIssued, OrderAuthorized
from worker.domain.order import Order
from worker.domain.published import command_message, event_message, order_state, timestamp
from worker.domain.terms import Capability, Terms
from worker.kafka import names
from worker.kafka.envelope import binary_headers
from worker.kafka.murmur2 import partition_of
from worker.kafka.records import Outgoing
from worker.stack import StackEnv

PATHS = {
    "now": "/",
    "orders": "/orders",
    "orders of one status": "/orders?status=open",
    "orders, page 200": "/orders?page=200",
    "orders whose id begins so": "/orders?q=order-09",
    "one order": "/order?id=order-000000",
    "needs": "/needs",
}
ORDERS = 100_000
REQUESTS = 100
SECONDS_MAX = 600
POLL_SECONDS = 2.0


class Result(msgspec.Struct):
    orders: int
    records: int
    empty_mb: float
    read_seconds: float
    full_mb: float
    again_seconds: float
    pages_ms: dict[str, list[float]]


async def run(stack: StackEnv, orders: int) -> Result:
    """Publishes what a ledger publishes for orders with one invoice that is being captured, and measures the view."""
    async with fresh_deployment(stack) as deployment:
        view, _ = await _started(deployment)
        empty_mb = _megabytes(view)
        await deployment.stop(view)
        documents: list[tuple[str, int, bytes]] = []
        records = await deployment.send(_messages(orders, deployment.settings.topic_partitions, documents))
        print(f"  {records:,} records are in Kafka", flush=True)
        await deployment.database.copy_records_to_table(
            "orders", schema_name="ledger",
            columns=["order_id", "partition", "opened", "merchant", "document", "updated_at"],
            records=[(name, number, True, "shop", document, _AT) for name, number, document in documents],
        )  # fmt: skip
        view, address, read_seconds = await _until_seen(deployment, orders)
        print(f"  read in {read_seconds:.0f} s", flush=True)
        await deployment.stop(view)
        view, address, again_seconds = await _until_seen(deployment, orders)
        print(f"  recovered in {again_seconds:.0f} s", flush=True)
        pages_ms = await _request_pages(address)
        return Result(orders, records, empty_mb, read_seconds, _megabytes(view), again_seconds, pages_ms)


def section(result: Result) -> page.Section:
    rows = []
    for name, times in result.pages_ms.items():
        ordered = sorted(times)
        rows.append((name, *(f"{ordered[len(ordered) * rank // 100]:.0f} ms" for rank in (50, 99))))
    text = (
        f"{result.orders:,} open orders. The view read their {result.records:,} records in {result.read_seconds:.0f} s "
        f"({result.records / result.read_seconds:,.0f} a second), and found its tables again in Kafka in "
        f"{result.again_seconds:.0f} s after a restart. Its memory grew from {result.empty_mb:.0f} MB to "
        f"{result.full_mb:.0f} MB. Pages, {REQUESTS} looks each, to the last byte:\n\n"
    )
    return page.Section("ops", text + page.table(("page", "p50", "p99"), rows), "make bench-ops")


_MS = 1_800_000_000_000
_AT = datetime.fromisoformat(timestamp(_MS))
_TERMS = Terms(now_ms=_MS, capabilities={"acme": Capability("PARTIAL")})


def _messages(orders: int, partitions: int, documents: list[tuple[str, int, bytes]]) -> Iterator[Outgoing]:
    for number in range(orders):
        name = f"order-{number:06}"
        home, key = partition_of(name, partitions), name.encode()
        payment = Authorization(payment_id=f"{name}-p", transaction_id="T", authorization_id="A", connector="acme",
                                value=50_000, reference_value=50_000, max_value=50_000)  # fmt: skip
        order = Order(name)
        facts = (
            OrderAuthorized(order_id=name, merchant=f"shop-{number % 50}", currency="USD", value=50_000,
                            payments=(payment,)),
            InvoiceIssued(order_id=name, type="Output", invoice_number="1", invoice_value=20_000),
        )  # fmt: skip
        for fact in facts:
            decision = decide(order, fact, _TERMS)
            order = decision.order
            for event in decision.events:
                data = event_message(order, event, None, _MS)
                headers = binary_headers(event.type, f"{name}/{event.sequence}", data["at"])
                yield Outgoing(names.EVENTS, home, key, orjson.dumps(data), headers)
            for command in decision.commands:
                data = command_message(order, command, _MS)
                headers = binary_headers("command.settle", command.command_id, data["issuedAt"])
                yield Outgoing(names.COMMANDS, home, key, orjson.dumps(data), headers)
            state = order_state(order)
            headers = binary_headers("order.state", f"{name}/v{order.version}", state["updatedAt"])
            yield Outgoing(names.ORDERS, home, key, orjson.dumps(state), headers)
        documents.append((name, home, msgspec.json.encode(order)))


async def _started(deployment: Deployment) -> tuple[subprocess.Popen[bytes], str]:
    port = await asyncio.to_thread(_free_port)
    view = deployment.start("worker", "ops", OPS_PORT=str(port))
    address = f"http://127.0.0.1:{port}"
    async with aiohttp.ClientSession() as client, asyncio.timeout(SECONDS_MAX):
        while True:
            try:
                async with client.get(f"{address}/ready") as answer:
                    if answer.status == 200:
                        return view, address
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _until_seen(deployment: Deployment, orders: int) -> tuple[subprocess.Popen[bytes], str, float]:
    """Starts the view and waits until it shows every order; returns the program, its address and the seconds."""
    started = time.monotonic()
    view, address = await _started(deployment)
    async with aiohttp.ClientSession() as client, asyncio.timeout(SECONDS_MAX):
        while True:
            async with client.get(f"{address}/orders") as answer:
                if f"of {orders:,}," in await answer.text():
                    return view, address, time.monotonic() - started
            await asyncio.sleep(POLL_SECONDS)


async def _request_pages(address: str) -> dict[str, list[float]]:
    times_ms: dict[str, list[float]] = {}
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as client:
        for name, path in PATHS.items():
            for _ in range(REQUESTS):
                started = time.perf_counter()
                async with client.get(address + path) as answer:
                    await answer.read()
                    assert answer.status == 200, path
                times_ms.setdefault(name, []).append((time.perf_counter() - started) * 1000)
    return times_ms


def _megabytes(view: subprocess.Popen[bytes]) -> float:
    return psutil.Process(view.pid).memory_info().rss / 1e6
