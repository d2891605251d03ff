"""Metrics and traces of two real workers."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import orjson
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from tests.until import until
from worker.kafka import names
from worker.kafka.envelope import binary_headers
from worker.kafka.murmur2 import partition_of
from worker.kafka.records import Outgoing
from worker.kafka.sink import Sink
from worker.sandbox.deployment import CONNECTORS, Sandbox, is_done
from worker.sandbox.erp import ErpOrder, erp_orders
from worker.stack import StackEnv

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SECONDS_MAX = 60


class Collector:
    """Receives spans as an OpenTelemetry collector does."""

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[tuple[str, str, str, str]] = []
        self.messages: set[str] = set()

    async def receive(self, request: web.Request) -> web.Response:
        """Keeps service, name, trace and parent of each span."""
        sent = ExportTraceServiceRequest.FromString(await request.read())
        for resource in sent.resource_spans:
            service = {entry.key: entry.value.string_value for entry in resource.resource.attributes}["service.name"]
            for scope in resource.scope_spans:
                self.spans += [
                    (service, span.name, span.trace_id.hex(), span.parent_span_id.hex()) for span in scope.spans
                ]
                self.messages |= {
                    entry.value.string_value for span in scope.spans for entry in span.attributes
                    if entry.key == "messaging.message.id"
                }  # fmt: skip
        return web.Response()


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    collector = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", collector.receive)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    collector.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield collector
    await runner.cleanup()


async def publish_traced(sandbox: Sandbox, order: ErpOrder) -> None:
    partition = partition_of(order.order_id, sandbox.settings.topic_partitions)
    async with Sink(sandbox.settings) as sink:
        for place, message in enumerate(order.messages):
            ce_id, trace = f"{order.order_id}/{place}", f"00-{TRACE}-{PARENT}-01"
            headers = binary_headers(message.type, ce_id, "2026-01-15T12:00:00Z", trace)
            value = orjson.dumps(message.data)
            await sink.publish([Outgoing(message.topic, partition, order.order_id.encode(), value, headers)])


async def scrape(sandbox: Sandbox, worker: str) -> dict[str, list[dict[str, str]]]:
    """The labels of every sample of a worker's metrics, by metric."""
    line = next(
        line for line in sandbox.processes.log(worker).read_text().splitlines() if line.startswith("ops server on ")
    )
    async with aiohttp.ClientSession() as client, client.get(line.removeprefix("ops server on ") + "/metrics") as reply:
        families = list(text_string_to_metric_families(await reply.text()))
    return {family.name: [sample.labels for sample in family.samples] for family in families if family.samples}


async def test_an_invoice_appears_in_the_metrics_of_both_workers_and_in_one_trace(
    stack: StackEnv, tmp_path: Path, collector: Collector, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPS_PORT", "0")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    [order] = erp_orders(1, [next(iter(CONNECTORS))], 3, "seen")

    sandbox = Sandbox(f"seen_{topic_prefix.strip('.')}", tmp_path, stack.as_settings())
    async with sandbox, asyncio.timeout(SECONDS_MAX):
        await publish_traced(sandbox, order)
        await until(lambda: is_done(sandbox.poll(), order), SECONDS_MAX)
        ledger, delivery = await scrape(sandbox, "ledger"), await scrape(sandbox, "delivery")
        verdict = await sandbox.verdict([order])

    assert verdict.good, verdict
    assert {"topic": names.ORDER_CHANGES, "fate": "applied"} in ledger["settlement_facts"]
    assert {"type": "settlement.confirmed"} in ledger["settlement_events"]
    assert "settlement_consumer_lag_records" in ledger
    assert "settlement_fact_delay_seconds" in ledger
    assert "settlement_invoice_to_capture_seconds" in delivery
    assert any(labels["fate"] == "succeeded" for labels in delivery["settlement_attempts"])
    assert {(service, name) for service, name, _, _ in collector.spans} >= {
        ("settlement-ledger", "decide invoice.issued"),
        ("settlement-ledger", "decide command.outcome"),
        ("settlement-delivery", "POST settlements"),
    }
    assert {(trace, parent) for _, _, trace, parent in collector.spans} == {(TRACE, PARENT)}
    assert collector.messages >= {f"{order.order_id}/{place}" for place in range(len(order.messages))}
