"""The monitor of the ops view goes on after any error, and the pages show the error meanwhile."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from aiokafka.errors import KafkaConnectionError
from structlog.testing import capture_logs

from tests.until import until
from worker.ops import monitor
from worker.ops.monitor import DeploymentMonitor
from worker.ops.reading import Reader
from worker.settings import load

URL = "postgresql://u:p@127.0.0.1:9/d"


@pytest.fixture
def monitoring(monkeypatch: pytest.MonkeyPatch) -> DeploymentMonitor:
    """Looks without a pause; both servers answer with nothing, until a test changes that."""
    monitoring = DeploymentMonitor(load({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "DATABASE_URL": URL}), Reader(URL))

    async def look() -> None:
        pass

    async def lags() -> dict[str, list[int]]:
        return {}

    monkeypatch.setattr(monitor, "LOOK_SECONDS", 0)
    monkeypatch.setattr(monitoring, "_look_at_database", look)
    monkeypatch.setattr(monitoring._lag, "read", lags)
    return monitoring


async def test_an_unexpected_error_is_logged_with_its_traceback_and_the_monitor_goes_on(
    monitoring: DeploymentMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems: list[list[str]] = []
    continued = asyncio.Event()

    async def lags() -> dict[str, list[int]]:
        problems.append([outage.problem for outage in monitoring.outages])
        if len(problems) == 1:
            raise KeyError("lag")
        if len(problems) == 3:
            continued.set()
        return {}

    async def close() -> None:
        raise RuntimeError("a client that breaks as it is closed")

    monkeypatch.setattr(monitoring._lag, "read", lags)
    with monkeypatch.context() as closing:
        closing.setattr(monitoring._lag, "close", close)
        logged = await _logged_until(continued, monitoring, stop=False)
    await monitoring.stop()

    assert problems == [[], ["Kafka: KeyError: 'lag'"], []]
    assert [(line["log_level"], bool(line.get("exc_info"))) for line in logged] == [
        ("error", True), ("error", True), ("info", False),
    ]  # fmt: skip
    assert logged[0]["problem"] == "Kafka: KeyError: 'lag'"
    assert monitoring.revision == 2


async def test_a_server_that_hangs_does_not_keep_the_other_from_being_looked_at(
    monitoring: DeploymentMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, went_on = [0], asyncio.Event()

    async def hang() -> dict[str, list[int]]:
        await asyncio.Event().wait()
        return {}

    async def look() -> None:
        looks[0] += 1
        if looks[0] == 3:
            went_on.set()

    monkeypatch.setattr(monitoring._lag, "read", hang)
    monkeypatch.setattr(monitoring, "_look_at_database", look)

    assert await _logged_until(went_on, monitoring) == []


async def test_no_worker_is_reported_missing_before_the_database_has_answered(
    monitoring: DeploymentMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering, kafka_answered = asyncio.Event(), asyncio.Event()

    async def lags() -> dict[str, list[int]]:
        kafka_answered.set()
        return {"ledger": [0]}

    monkeypatch.setattr(monitoring._lag, "read", lags)
    monkeypatch.setattr(monitoring, "_look_at_database", answering.wait)
    await monitoring.start()
    await kafka_answered.wait()
    await until(lambda: monitoring.lags, 5)
    assert not monitoring.is_idle("ledger")

    answering.set()
    await until(lambda: monitoring.is_idle("ledger"), 5)
    await monitoring.stop()


async def test_two_servers_that_are_away_are_both_named_with_when_each_last_answered(
    monitoring: DeploymentMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, both = [0], asyncio.Event()

    async def look() -> None:
        looks[0] += 1
        if looks[0] > 1:
            raise ConnectionRefusedError
        if len(monitoring.outages) == 2:
            both.set()

    async def lags() -> dict[str, list[int]]:
        if len(monitoring.outages) == 2:
            both.set()
        raise TimeoutError

    monkeypatch.setattr(monitoring, "_look_at_database", look)
    monkeypatch.setattr(monitoring._lag, "read", lags)
    await _logged_until(both, monitoring)

    found = {outage.stale: outage.answered_at is not None for outage in monitoring.outages}
    assert found == {monitor.DATABASE.stale: True, monitor.KAFKA.stale: False}


async def _logged_until(signal: asyncio.Event, monitoring: DeploymentMonitor, *, stop: bool = True) -> list[Any]:
    with capture_logs() as logged:
        await monitoring.start()
        async with asyncio.timeout(5):
            await signal.wait()
    if stop:
        await monitoring.stop()
    return logged


async def test_a_session_ended_by_the_server_is_logged_once_as_a_warning(
    monitoring: DeploymentMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, looked_again = [0], asyncio.Event()

    async def look() -> None:
        looks[0] += 1
        if looks[0] == 3:
            looked_again.set()
        raise asyncpg.InternalClientError("cannot switch to state 11; another operation (2) is in progress")

    monkeypatch.setattr(monitoring, "_look_at_database", look)
    logged = await _logged_until(looked_again, monitoring)

    assert [(line["log_level"], line.get("exc_info")) for line in logged] == [("warning", None)]


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (TimeoutError(), "Kafka did not answer in time"),
        (KafkaConnectionError("Unable to bootstrap"), "Kafka: KafkaConnectionError: Unable to bootstrap"),
    ],
)
async def test_an_unreachable_server_is_logged_once_and_the_other_is_still_read(
    monkeypatch: pytest.MonkeyPatch, problem: Exception, message: str
) -> None:
    reader: Any = EmptyDatabase()
    monitoring = DeploymentMonitor(load({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "DATABASE_URL": URL}), reader)
    alert = {"code": "unknown_connector", "connector": "newpay", "orders": "3", "first_order": "o1",
             "remedy": "name it in the file", "since": "2026-01-01T00:00:00Z"}  # fmt: skip
    member = {"role": "ledger", "member_id": "m", "host": "h", "joined_at": None, "partitions": 12,
              "alerts": json.dumps([alert])}  # fmt: skip
    readings, read_again = [0], asyncio.Event()

    async def rows(*_: Any) -> list[Any]:
        return [member]

    async def letters(_: Any) -> dict[Any, int]:
        return {}

    async def lag() -> Any:
        readings[0] += 1
        if readings[0] == 3:
            read_again.set()
        raise problem

    monkeypatch.setattr(monitor, "LOOK_SECONDS", 0)
    monkeypatch.setattr(monitor.dead_letters, "count_open", letters)
    monkeypatch.setattr(reader, "rows", rows, raising=False)
    monkeypatch.setattr(monitoring, "_schema_checked", True)
    monkeypatch.setattr(monitoring._lag, "read", lag)
    logged = await _logged_until(read_again, monitoring)

    assert [line["problem"] for line in logged] == [message]
    assert [outage.problem for outage in monitoring.outages] == [message]
    assert [(alert.code, alert.connector, alert.says) for alert in monitoring.alerts] == [
        ("unknown_connector", "newpay", "name it in the file; orders 3; first order o1")
    ]


class EmptyDatabase:
    """A database without any of our tables."""

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator["EmptyDatabase"]:
        yield self

    async def fetchval(self, _: str) -> None:
        return None


async def test_a_database_without_tables_is_reported_with_the_command_that_creates_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader: Any = EmptyDatabase()
    monitoring = DeploymentMonitor(load({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "DATABASE_URL": URL}), reader)

    async def lags() -> dict[str, list[int]]:
        return {}

    monkeypatch.setattr(monitoring._lag, "read", lags)
    with capture_logs() as logged:
        await monitoring.start()
        await until(lambda: monitoring.outages, 5)
    await monitoring.stop()

    [outage] = monitoring.outages
    assert outage.problem.startswith("the database lacks migration 0001_stream.sql")
    assert outage.problem.endswith("`settlement migrate` applies what is missing")
    assert [(line["event"], line["problem"]) for line in logged] == [("could not look around", outage.problem)]
