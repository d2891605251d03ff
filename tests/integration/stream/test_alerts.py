"""Alerts and readiness of a worker: when they begin, how long they last, and when they clear."""

import asyncio
import json
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import NewPartitions
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import GroupAuthorizationFailedError, KafkaTimeoutError, TopicAuthorizationFailedError
from structlog.testing import capture_logs

from tests.integration.stream.deployment import PARTITIONS, PATIENCE_SECONDS, StreamDeployment
from tests.integration.stream.in_process_worker import InProcessWorker, start_and_consume
from tests.integration.stream.toy import Toy
from tests.until import until
from worker import telemetry
from worker.kafka import names
from worker.kafka.connecting import admin_client, client_options
from worker.kafka.lag import committed_offsets
from worker.kafka.log_inspector import LogInspector
from worker.kafka.records import Place
from worker.settings import load
from worker.stream import offset_reporter, session_health
from worker.stream.control import Control
from worker.stream.cycle import Cycle
from worker.stream.offset_reporter import OFFSETS_REFUSED
from worker.stream.ownership import Ownership
from worker.stream.runner import Runner
from worker.stream.session import TOPIC_WIDENED
from worker.stream.session_health import KAFKA_AWAY, SHORT_SESSIONS_MAX


async def test_an_alert_is_stored_with_its_workers_lease_until_it_clears(database_url: str) -> None:
    settings = load({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "DATABASE_URL": database_url})
    database = await asyncpg.connect(database_url)
    ownership = Ownership("delivery", Control(settings))
    await ownership.join()

    async def stored() -> list[dict[str, str]]:
        alerts = json.loads(await database.fetchval("SELECT alerts FROM delivery.members"))
        return [alert for alert in alerts if alert["connector"] == "alone"]  # others may last in this process

    telemetry.alert("breaker_open", "alone", why="connection refused")
    alerts = await until(stored, seconds=20)  # the worker writes it with its next heartbeat
    telemetry.clear_alert("breaker_open", "alone")

    async def cleared() -> bool:
        return not await stored()

    await until(cleared, seconds=20)
    await ownership.leave()
    await database.close()

    assert [(alert["code"], alert["connector"], alert["why"]) for alert in alerts] == [
        ("breaker_open", "alone", "connection refused")
    ]


async def test_an_unreachable_database_is_logged_once_and_not_at_every_retry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = load({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "DATABASE_URL": "postgresql://u:p@127.0.0.1:9/d"})
    control = Control(settings)
    runner = Runner(Toy(control), control)
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 8:
            runner.stop()

    monkeypatch.setattr(runner, "_sleep", sleep)
    with capture_logs() as logged:
        await runner.run()

    lines = [(line["event"], line["problem"].startswith("PostgreSQL cannot be reached")) for line in logged]
    assert lines == [("the session ended, another one begins", True), ("alert", True)]
    assert runner.condition()["problem"] == logged[0]["problem"]


async def test_a_stopping_worker_does_not_clear_the_kafka_alert(deployment: StreamDeployment) -> None:
    """It no longer asks Kafka, so it cannot know."""

    class AlertsAtRelease(Toy):
        lasting = False

        async def release(self, partitions: frozenset[int]) -> None:
            telemetry.alert(KAFKA_AWAY)
            for _ in range(5):
                self.control.changed.set()  # the runner checks again
                await asyncio.sleep(0.02)
            self.lasting = any(alert["code"] == KAFKA_AWAY for alert in telemetry.lasting_alerts())
            await super().release(partitions)

    worker = await start_and_consume(deployment, AlertsAtRelease)
    await worker.stop()

    assert worker.toy.lasting


async def test_the_kafka_alert_clears_once_kafka_is_back_even_with_a_backlog(
    deployment: StreamDeployment,
) -> None:
    """It lasted until the worker had caught up, as only an idle worker checked."""

    lasting: list[bool] = []

    class OneByOne(Toy):
        async def handle(self, cycle: Cycle) -> None:
            self.control.pace.records_max = 1
            if cycle.records and not lasting:
                telemetry.alert(KAFKA_AWAY)
            if cycle.records:
                lasting.append(any(alert["code"] == KAFKA_AWAY for alert in telemetry.lasting_alerts()))
            await super().handle(cycle)

    await deployment.send_many([("order-1", b"{}", None)] * 50)
    worker = InProcessWorker(deployment.settings, OneByOne)
    await deployment.check_orders({"order-1": 50})
    await worker.stop()

    assert lasting.count(True) <= 2, lasting


async def test_the_kafka_alert_lasts_while_every_new_session_fails_soon(
    deployment: StreamDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the alert would end after a moment each time, and an alert rule that waits for it to last never fires."""
    monkeypatch.setattr(session_health, "STEADY_SECONDS", 3.0)

    with capture_logs() as logged:
        worker = InProcessWorker(deployment.settings)
        worker.toy.errors = [
            TopicAuthorizationFailedError("settlement.commands.v1") for _ in range(SHORT_SESSIONS_MAX + 4)
        ]
        await deployment.send("order-1")
        await deployment.until_seen(1)
        problem = worker.runner.condition()["problem"]
        await until(worker.is_ready, seconds=20)
        await worker.stop()

    assert problem.startswith("Kafka does not allow our user the topic settlement.commands.v1")
    alerts = [(line["event"], line["code"]) for line in logged if line["event"].startswith("alert")]
    assert alerts == [("alert", KAFKA_AWAY), ("alert over", KAFKA_AWAY)]


async def test_partitions_added_to_a_topic_soon_raise_an_alert(deployment: StreamDeployment) -> None:
    """It took five minutes, in which the ERP went on writing to the new partitions."""
    worker = await start_and_consume(deployment)
    topic = deployment.settings.topic(names.INVOICES)
    async with admin_client(deployment.settings) as admin:
        await admin.create_partitions({topic: NewPartitions(PARTITIONS + 1)})

    def alerts() -> list[dict[str, str]]:
        return [alert for alert in telemetry.lasting_alerts() if alert["code"] == TOPIC_WIDENED]

    [alert] = await until(alerts, seconds=20)
    await worker.stop()

    assert alert["topics"] == str({topic: PARTITIONS + 1})


async def test_a_worker_that_cannot_take_its_partitions_is_not_ready_during_a_slow_attempt(
    deployment: StreamDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka's client asks for 15 seconds for a partition without a leader: the worker was ready, without an alert."""
    monkeypatch.setattr(session_health, "STEADY_SECONDS", 0.0)  # each attempt takes longer than that
    bounds = LogInspector.bounds
    conditions: list[dict[str, str]] = []

    def alerts() -> list[dict[str, str]]:
        return [alert for alert in telemetry.lasting_alerts() if alert["code"] == KAFKA_AWAY]

    async def no_leader(inspector: LogInspector, places: list[Place]) -> dict[Place, tuple[int, int]]:
        conditions.append(dict(worker.runner.condition()))
        if alerts():
            return await bounds(inspector, places)
        raise KafkaTimeoutError("Failed to get offsets by times in 15000 ms")

    monkeypatch.setattr(LogInspector, "bounds", no_leader)
    worker = InProcessWorker(deployment.settings)
    await deployment.send("order-1")
    [alert] = await until(alerts, seconds=20)
    await deployment.check_orders({"order-1": 1})
    await until(lambda: not worker.runner.condition() and not alerts(), seconds=20)
    await worker.stop()

    assert "Failed to get offsets" in alert["problem"]
    assert all(conditions), "never ready before the partitions were taken"


async def test_two_workers_that_take_turns_failing_to_take_partitions_are_not_ready(
    deployment: StreamDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that had failed owned nothing while the other one tried, and counted as healthy."""
    monkeypatch.setattr(session_health, "PAUSE_SECONDS_MAX", session_health.PAUSE_SECONDS_MIN)
    bounds = LogInspector.bounds
    workers = [InProcessWorker(deployment.settings), InProcessWorker(deployment.settings)]
    await deployment.until_shared(PARTITIONS // 2, PARTITIONS // 2)
    ready: list[bool] = []

    async def no_leader(*_: object) -> dict[Place, tuple[int, int]]:
        if all(worker.toy.drops for worker in workers):
            ready.append(not all(worker.runner.condition() for worker in workers))
        raise KafkaTimeoutError("Failed to get offsets by times in 15000 ms")

    monkeypatch.setattr(LogInspector, "bounds", no_leader)
    await deployment.end_sessions()
    await until(lambda: len(ready) > 20, PATIENCE_SECONDS)
    monkeypatch.setattr(LogInspector, "bounds", bounds)
    await until(lambda: not any(worker.runner.condition() for worker in workers), seconds=20)
    await asyncio.gather(*(worker.stop() for worker in workers))

    assert not any(ready)


def offset_alerts() -> list[dict[str, str]]:
    return [alert for alert in telemetry.lasting_alerts() if alert["code"] == OFFSETS_REFUSED]


async def test_a_worker_without_a_right_on_its_group_goes_on_and_names_the_right(
    deployment: StreamDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of its sessions ended, although nothing depends on the group's offsets."""
    monkeypatch.setattr(offset_reporter, "REFUSED_SECONDS_MAX", 0.0)
    look_up, refused = AIOKafkaClient.coordinator_lookup, [True]

    async def without_right(client: AIOKafkaClient, *asked: Any) -> Any:
        if refused:
            raise GroupAuthorizationFailedError
        return await look_up(client, *asked)

    monkeypatch.setattr(AIOKafkaClient, "coordinator_lookup", without_right)
    worker = InProcessWorker(deployment.settings)
    await deployment.send("order-1")
    [alert] = await until(offset_alerts, seconds=20)
    await deployment.send("order-1")
    await deployment.check_orders({"order-1": 2})
    assert not worker.runner.condition()
    refused.clear()
    await until(lambda: not offset_alerts(), seconds=20)
    await worker.stop()

    assert worker.toy.drops == 0
    group = deployment.settings.topic(names.group("ledger"))
    assert alert["problem"] == f"does not allow our user the group {group}: it needs Describe and Read"


async def test_offsets_refused_because_a_stranger_joined_the_group_raise_an_alert(
    deployment: StreamDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lag tools then show the stranger's offsets, and no alert said that they are not ours."""
    monkeypatch.setattr(offset_reporter, "REFUSED_SECONDS_MAX", 0.0)
    group = deployment.settings.topic(names.group("ledger"))
    stranger = AIOKafkaConsumer(
        deployment.settings.topic(names.INVOICES),
        **client_options(deployment.settings),
        group_id=group,
        enable_auto_commit=False,
    )
    await stranger.start()
    worker = InProcessWorker(deployment.settings)
    await deployment.send("order-1")

    try:
        [alert] = await until(offset_alerts, seconds=20)
        assert not worker.runner.condition(), "nothing depends on it"
    finally:
        await stranger.stop()
    await until(lambda: not offset_alerts(), seconds=20)
    await worker.stop()

    assert (alert["group"], alert["problem"]) == (group, "somebody else has joined it")
    committed = await committed_offsets(deployment.settings, names.group("ledger"))
    assert committed[names.INVOICES, deployment.home("order-1")] == 1
