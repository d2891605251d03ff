"""An alert is said once and shown while it lasts; the ops server says what is missing."""

from collections.abc import Iterator

import aiohttp
import pytest
import structlog
from prometheus_client import REGISTRY

from worker import telemetry
from worker.health import OpsServer
from worker.settings import load


@pytest.fixture
def lines() -> Iterator[list[dict[str, object]]]:
    with structlog.testing.capture_logs() as captured:
        yield captured


def test_an_alert_is_one_error_line_and_a_gauge_while_it_lasts(lines: list[dict[str, object]]):
    telemetry.alert("test_code", "acme", detail="d")
    telemetry.alert("test_code", "acme", detail="d")

    assert [(line["log_level"], line["code"], line["connector"]) for line in lines] == [("error", "test_code", "acme")]
    assert REGISTRY.get_sample_value("settlement_alert", {"code": "test_code", "connector": "acme"}) == 1

    telemetry.clear_alert("test_code", "acme")

    assert REGISTRY.get_sample_value("settlement_alert", {"code": "test_code", "connector": "acme"}) == 0


def test_facts_are_counted_by_topic_and_fate():
    telemetry.count_fact("t", "applied", 3)

    assert REGISTRY.get_sample_value("settlement_facts_total", {"topic": "t", "fate": "applied"}) == 3


async def test_the_ops_server_answers_on_a_free_port_and_prints_it(capsys: pytest.CaptureFixture[str]):
    missing: dict[str, str] = {}
    server = OpsServer(load({"OPS_PORT": "0"}), lambda: missing)
    await server.start()
    base = f"http://127.0.0.1:{server.port}"

    async with aiohttp.ClientSession() as client:
        ready = (await client.get(f"{base}/ready")).status
        missing["problem"] = "Kafka has not answered for 7 s"
        red = await client.get(f"{base}/ready")
        metrics = await (await client.get(f"{base}/metrics")).text()
        live = (await client.get(f"{base}/live")).status

        assert (live, ready, red.status) == (200, 200, 503)
        assert (await red.json())["problem"] == "Kafka has not answered for 7 s"
    assert "settlement_facts_total" in metrics
    assert base in capsys.readouterr().out
    await server.stop()


async def test_without_a_port_nothing_listens():
    server = OpsServer(load({}), dict)

    await server.start()

    assert server.port is None
    await server.stop()
