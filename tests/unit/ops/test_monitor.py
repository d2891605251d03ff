"""The ops view goes on looking around, whatever a look met; the pages say what is wrong meanwhile."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from aiokafka.errors import KafkaConnectionError
from structlog.testing import capture_logs

from worker.ops import monitor
from worker.ops.monitor import DeploymentMonitor
from worker.ops.reading import Reader
from worker.settings import load

URL = "postgresql://u:p@127.0.0.1:9/d"


async def test_an_unexpected_error_is_logged_with_its_traceback_and_the_monitor_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watching = DeploymentMonitor(load({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "DATABASE_URL": URL}), Reader(URL))
    problems: list[str | None] = []
    went_on = asyncio.Event()

    async def look() -> None:
        problems.append(watching.problem)
        if len(problems) == 1:
            raise KeyError("alerts")
        if len(problems) == 3:
            went_on.set()

    async def lags() -> dict[str, list[int]]:
        return {}

    async def close() -> None:
        raise RuntimeError("a client that breaks as it is closed")

    monkeypatch.setattr(monitor, "LOOK_SECONDS", 0)
    monkeypatch.setattr(watching, "_look_at_database", look)
    monkeypatch.setattr(watching._lag, "read", lags)
    with monkeypatch.context() as closing, capture_logs() as logged:
        closing.setattr(watching._lag, "close", close)
        await watching.start()
        async with asyncio.timeout(5):
            await went_on.wait()
    await watching.stop()

    assert problems == [None, "PostgreSQL: KeyError: 'alerts'", None]
    assert [(one["log_level"], bool(one.get("exc_info"))) for one in logged] == [
        ("error", True), ("error", True), ("info", False),
    ]  # fmt: skip
    assert logged[0]["problem"] == "PostgreSQL: KeyError: 'alerts'"
    assert watching.revision == 2


async def _looked_once(watching: DeploymentMonitor, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is logged until the clients of a look that failed are let go."""
    let_go = asyncio.Event()

    async def close() -> None:
        let_go.set()

    monkeypatch.setattr(watching._lag, "close", close)
    return await _logged_until(let_go, watching)


async def _logged_until(signal: asyncio.Event, watching: DeploymentMonitor) -> list[Any]:
    with capture_logs() as logged:
        await watching.start()
        async with asyncio.timeout(5):
            await signal.wait()
    await watching.stop()
    return logged


async def test_a_session_ended_by_the_server_is_logged_as_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    watching = DeploymentMonitor(load({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "DATABASE_URL": URL}), Reader(URL))

    async def look() -> None:
        raise asyncpg.InternalClientError("cannot switch to state 11; another operation (2) is in progress")

    monkeypatch.setattr(watching, "_look_at_database", look)
    logged = await _looked_once(watching, monkeypatch)

    assert [(one["log_level"], one.get("exc_info")) for one in logged] == [("warning", None)]


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        (TimeoutError(), "Kafka did not answer in time"),
        (KafkaConnectionError("Unable to bootstrap"), "Kafka: KafkaConnectionError: Unable to bootstrap"),
    ],
)
async def test_an_unreachable_server_is_logged_once_and_the_other_is_still_read(
    monkeypatch: pytest.MonkeyPatch, problem: Exception, told: str
) -> None:
    reader: Any = EmptyDatabase()
    watching = DeploymentMonitor(load({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "DATABASE_URL": URL}), reader)
    member = {"role": "ledger", "member_id": "m", "host": "h", "joined_at": None, "partitions": 12,
              "alerts": json.dumps([{"code": "kafka_away", "connector": "", "since": "2026-01-01T00:00:00Z"}])
              }  # fmt: skip
    looks, looked_again = [0], asyncio.Event()

    async def rows(*_: Any) -> list[Any]:
        return [member]

    async def letters(_: Any) -> dict[Any, int]:
        return {}

    async def lag() -> Any:
        looks[0] += 1
        if looks[0] == 3:
            looked_again.set()
        raise problem

    monkeypatch.setattr(monitor, "LOOK_SECONDS", 0)
    monkeypatch.setattr(monitor.dead_letters, "count_open", letters)
    monkeypatch.setattr(reader, "rows", rows, raising=False)
    monkeypatch.setattr(watching, "_schema_checked", True)
    monkeypatch.setattr(watching._lag, "read", lag)
    logged = await _logged_until(looked_again, watching)

    assert [one["problem"] for one in logged] == [told]
    assert watching.problem == told
    assert [one.code for one in watching.alerts] == ["kafka_away"]


class EmptyDatabase:
    """Answers, and has no table of ours."""

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator["EmptyDatabase"]:
        yield self

    async def fetchval(self, _: str) -> None:
        return None


async def test_a_database_without_tables_is_reported_with_the_command_that_creates_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader: Any = EmptyDatabase()
    watching = DeploymentMonitor(load({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "DATABASE_URL": URL}), reader)

    logged = await _looked_once(watching, monkeypatch)

    assert str(watching.problem).startswith("the database lacks migration 0001_stream.sql")
    assert str(watching.problem).endswith("`settlement migrate` applies what is missing")
    assert [(one["event"], one["problem"]) for one in logged] == [("could not look around", watching.problem)]
