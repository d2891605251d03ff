"""An alert is logged once and shown while it lasts; the health server reports what is missing."""

import asyncio
import sys
from collections.abc import Iterator

import aiohttp
import pytest
import structlog
from prometheus_client import REGISTRY

from worker import telemetry
from worker.health import HealthServer
from worker.settings import load


async def _log_of(source: str) -> list[bytes]:
    """The lines that a program logs."""
    program = await asyncio.create_subprocess_exec(sys.executable, "-c", source, stderr=asyncio.subprocess.PIPE)
    _, log = await program.communicate()
    return log.splitlines()


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


def test_an_alert_with_changing_details_shows_the_latest_and_is_logged_at_a_limited_rate(
    lines: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
):
    def latest() -> list[str]:
        return [alert["problem"] for alert in telemetry.lasting_alerts() if alert["code"] == "test_code"]

    seconds = 1_000.0
    monkeypatch.setattr(telemetry, "monotonic", lambda: seconds)
    telemetry.alert("test_code", problem="the first mistake")
    seconds += 5
    telemetry.alert("test_code", problem="the second mistake")
    assert [line["problem"] for line in lines] == ["the first mistake", "the second mistake"]
    assert latest() == ["the second mistake"]

    for number in range(36_000):
        seconds += 0.1
        telemetry.alert("test_code", problem=f"{number} wait")

    assert latest() == ["35999 wait"]
    assert len(lines) < 70, "an hour of ten changes a second"
    telemetry.clear_alert("test_code")


async def test_a_commit_abandoned_by_a_broken_connection_is_not_logged():
    source = """
import asyncio, gc
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import KafkaConnectionError
from worker import telemetry
from worker.settings import load

class Broken(GroupCoordinator):
    def __init__(self):
        self.group_id = self.generation = self.member_id = self.coordinator_id = ""
        self.given_up = asyncio.Event()

    async def _send_req(self, request):
        await self.given_up.wait()
        raise KafkaConnectionError("closed")

async def ours():
    raise KafkaConnectionError("of ours")

async def main():
    telemetry.configure(load({"LOG_FORMAT": "json"}))
    offset = type("At", (), {"offset": 1, "metadata": ""})
    place = type("Place", (), {"topic": "t", "partition": 0})
    broken = Broken()
    given_up = asyncio.shield(broken._do_commit_offsets(None, {place: offset}))
    given_up.cancel()
    await asyncio.wait([given_up])
    broken.given_up.set()
    failed = asyncio.ensure_future(ours())
    await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})
    del given_up, failed
    gc.collect()

asyncio.run(main())
"""
    log = await _log_of(source)

    assert [line.count(b"of ours") > 0 for line in log] == [True]


async def test_a_batch_that_fails_after_its_sender_stopped_waiting_is_not_logged():
    """When a partition loses its leader, batches behind the first one fail too, and no task awaits them any more."""
    source = """
import asyncio, gc
from aiokafka.errors import LeaderNotAvailableError
from aiokafka.producer.message_accumulator import BatchBuilder, MessageBatch
from worker import telemetry
from worker.settings import load

async def main():
    telemetry.configure(load({"LOG_FORMAT": "json"}))
    builder = BatchBuilder(1024, 0)
    batch = MessageBatch(None, builder, 1, 0)
    batch.failure(LeaderNotAvailableError())
    ours = asyncio.get_running_loop().create_future()
    ours.set_exception(ValueError("of ours"))
    del batch, ours
    gc.collect()

asyncio.run(main())
"""
    log = await _log_of(source)

    assert [line.count(b"of ours") > 0 for line in log] == [True]


async def test_a_message_of_the_event_loop_without_an_exception_is_logged():
    source = """
import asyncio
from worker import telemetry
from worker.settings import load

telemetry.configure(load({"LOG_FORMAT": "json"}))
asyncio.new_event_loop().call_exception_handler({"message": "a task was destroyed"})
"""

    (line,) = await _log_of(source)

    assert b"a task was destroyed" in line


async def test_the_ops_server_answers_on_a_free_port_and_prints_it(capsys: pytest.CaptureFixture[str]):
    missing: dict[str, str] = {}
    server = HealthServer(load({"OPS_PORT": "0"}), lambda: missing)
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


async def test_without_a_port_no_server_listens():
    server = HealthServer(load({}), dict)

    await server.start()

    assert server.port is None
    await server.stop()
