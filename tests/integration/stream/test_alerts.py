"""What lasts in a worker can be seen from outside: beside its lease, for as long as it lasts."""

import asyncio
import json

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import NewPartitions
from aiokafka.errors import KafkaTimeoutError, TopicAuthorizationFailedError
from structlog.testing import capture_logs

from tests.integration.stream.deployment import PARTITIONS, StreamDeployment
from tests.integration.stream.hosted import Hosted, at_work
from tests.integration.stream.toy import Toy
from tests.until import until
from worker import telemetry
from worker.kafka import names, source
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
from worker.stream.session_health import DATABASE_AWAY, KAFKA_AWAY, SHORT_SESSIONS_MAX


async def test_an_alert_stands_beside_its_workers_lease_until_it_is_over(database_url: str) -> None:
    settings = load({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "DATABASE_URL": database_url})
    database = await asyncpg.connect(database_url)
    ownership = Ownership(database_url, "delivery", settings.topic_partitions, Control(settings))
    await ownership.join()

    async def told() -> list[dict[str, str]]:
        lasting = json.loads(await database.fetchval("SELECT alerts FROM delivery.members"))
        return [one for one in lasting if one["connector"] == "alone"]  # others may last in this process

    telemetry.alert("breaker_open", "alone", why="connection refused")
    try:
        found = await until(told, seconds=20)  # the worker tells the database with its next beat
    finally:
        telemetry.clear_alert("breaker_open", "alone")

    async def over() -> bool:
        return not await told()

    await until(over, seconds=20)
    await ownership.leave()
    await database.close()

    assert [(one["code"], one["connector"], one["why"]) for one in found] == [
        ("breaker_open", "alone", "connection refused")
    ]


async def test_a_database_that_stays_away_is_named_and_told_once_and_not_every_two_seconds(
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
    try:
        with capture_logs() as logged:
            await runner.run()
    finally:
        telemetry.clear_alert(DATABASE_AWAY)

    told = [(one["event"], one["problem"].startswith("PostgreSQL cannot be reached")) for one in logged]
    assert told == [("the session ended, another one begins", True), ("alert", True)]
    assert runner.condition()["problem"] == logged[0]["problem"]


async def test_a_worker_that_stops_does_not_say_that_kafka_is_back(deployment: StreamDeployment) -> None:
    """It asks Kafka nothing any more, and knows nothing of it."""

    class AlertsAsItLeaves(Toy):
        lasting = False

        async def release(self, partitions: frozenset[int]) -> None:
            telemetry.alert(KAFKA_AWAY)
            for _ in range(5):
                self.control.changed.set()  # the runner looks again
                await asyncio.sleep(0.02)
            self.lasting = any(one["code"] == KAFKA_AWAY for one in telemetry.lasting_alerts())
            await super().release(partitions)

    worker = Hosted(deployment.settings, AlertsAsItLeaves)
    await deployment.send("order-1")
    await deployment.until_seen(1)
    try:
        await worker.stop()
    finally:
        telemetry.clear_alert(KAFKA_AWAY)

    assert worker.toy.lasting


async def test_an_alert_is_over_as_soon_as_kafka_is_back_however_much_waits_to_be_read(
    deployment: StreamDeployment,
) -> None:
    """It lasted until the worker had caught up, as only one that found nothing to do looked."""

    lasting: list[bool] = []

    class OneByOne(Toy):
        async def handle(self, cycle: Cycle) -> None:
            self.control.pace.records_max = 1
            if cycle.records and not lasting:
                telemetry.alert(KAFKA_AWAY)
            if cycle.records:
                lasting.append(any(one["code"] == KAFKA_AWAY for one in telemetry.lasting_alerts()))
            await super().handle(cycle)

    await deployment.send_many([("order-1", b"{}", None)] * 50)
    worker = Hosted(deployment.settings, OneByOne)
    try:
        await deployment.check_orders({"order-1": 50})
        await worker.stop()
    finally:
        telemetry.clear_alert(KAFKA_AWAY)

    assert lasting.count(True) <= 2, lasting


async def test_trouble_that_lets_sessions_begin_and_ends_each_is_not_over_whenever_one_begins(
    deployment: StreamDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the alert lasts for a moment each time, and nothing that waits for it to last ever tells anybody."""
    monkeypatch.setattr(session_health, "STEADY_SECONDS", 3.0)

    with capture_logs() as logged:
        worker = Hosted(deployment.settings)
        worker.toy.meets = [
            TopicAuthorizationFailedError("settlement.commands.v1") for _ in range(SHORT_SESSIONS_MAX + 4)
        ]
        await deployment.send("order-1")
        await deployment.until_seen(1)
        said = worker.runner.condition()["problem"]

        async def well() -> bool:
            return not worker.runner.condition()

        await until(well, seconds=20)
        await worker.stop()

    assert said.startswith("Kafka does not allow our user the topic settlement.commands.v1")
    told = [(one["event"], one["code"]) for one in logged if one["event"].startswith("alert")]
    assert told == [("alert", KAFKA_AWAY), ("alert over", KAFKA_AWAY)]


async def test_a_topic_that_is_given_partitions_nobody_reads_is_soon_an_alert(
    deployment: StreamDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was one after five minutes, in which nobody told the ERP to stop."""
    assert source.METADATA_AGE_SECONDS_MAX <= 30
    monkeypatch.setattr(source, "METADATA_AGE_SECONDS_MAX", 1.0)
    worker = await at_work(deployment)
    topic = deployment.settings.topic(names.INVOICES)
    async with admin_client(deployment.settings) as admin:
        await admin.create_partitions({topic: NewPartitions(PARTITIONS + 1)})

    def told() -> list[dict[str, str]]:
        return [one for one in telemetry.lasting_alerts() if one["code"] == TOPIC_WIDENED]

    try:
        [alert] = await until(told, seconds=20)
        await worker.stop()
    finally:
        telemetry.clear_alert(TOPIC_WIDENED)

    assert alert["topics"] == str({topic: PARTITIONS + 1})


async def test_a_worker_that_cannot_take_its_partitions_is_not_ready_however_long_each_attempt_takes(
    deployment: StreamDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partition without a leader lets Kafka's client ask for 15 seconds: the worker was ready, and no alert told."""
    monkeypatch.setattr(session_health, "STEADY_SECONDS", 0.0)  # each attempt takes longer than that
    bounds = LogInspector.bounds
    conditions: list[dict[str, str]] = []

    def alerts() -> list[dict[str, str]]:
        return [one for one in telemetry.lasting_alerts() if one["code"] == KAFKA_AWAY]

    async def no_leader(inspector: LogInspector, places: list[Place]) -> dict[Place, tuple[int, int]]:
        conditions.append(dict(worker.runner.condition()))
        if alerts():
            return await bounds(inspector, places)
        raise KafkaTimeoutError("Failed to get offsets by times in 15000 ms")

    monkeypatch.setattr(LogInspector, "bounds", no_leader)
    worker = Hosted(deployment.settings)
    await deployment.send("order-1")
    try:
        [alert] = await until(alerts, seconds=20)
        await deployment.check_orders({"order-1": 1})
        await until(lambda: not worker.runner.condition() and not alerts(), seconds=20)
        await worker.stop()
    finally:
        telemetry.clear_alert(KAFKA_AWAY)

    assert "Failed to get offsets" in alert["problem"]
    assert all(conditions), "never ready before the partitions were taken"


async def test_two_workers_that_fail_in_turn_to_take_the_partitions_are_neither_ready_nor_well(
    deployment: StreamDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever had failed owned nothing while the other one tried, which went well."""
    monkeypatch.setattr(session_health, "PAUSE_SECONDS_MAX", session_health.PAUSE_SECONDS_MIN)
    bounds = LogInspector.bounds
    workers = [Hosted(deployment.settings), Hosted(deployment.settings)]
    await deployment.until_shared(PARTITIONS // 2, PARTITIONS // 2)
    ready: list[bool] = []

    async def no_leader(*_: object) -> dict[Place, tuple[int, int]]:
        if all(worker.toy.drops for worker in workers):
            ready.append(not all(worker.runner.condition() for worker in workers))
        raise KafkaTimeoutError("Failed to get offsets by times in 15000 ms")

    monkeypatch.setattr(LogInspector, "bounds", no_leader)
    await deployment.end_sessions()
    try:
        await until(lambda: len(ready) > 20, seconds=40)
        monkeypatch.setattr(LogInspector, "bounds", bounds)
        await until(lambda: not any(worker.runner.condition() for worker in workers), seconds=20)
        await asyncio.gather(*(worker.stop() for worker in workers))
    finally:
        telemetry.clear_alert(KAFKA_AWAY)

    assert not any(ready)


async def test_offsets_that_kafka_refuses_because_somebody_else_joined_the_group_are_an_alert(
    deployment: StreamDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lag tools show the other one's offsets, and nobody was told that they are not ours."""
    monkeypatch.setattr(offset_reporter, "REFUSED_SECONDS_MAX", 0.0)
    group = deployment.settings.topic(names.group("ledger"))
    stranger = AIOKafkaConsumer(
        deployment.settings.topic(names.INVOICES),
        **client_options(deployment.settings),
        group_id=group,
        enable_auto_commit=False,
    )
    await stranger.start()
    worker = Hosted(deployment.settings)
    await deployment.send("order-1")

    def lasting() -> list[dict[str, str]]:
        return [one for one in telemetry.lasting_alerts() if one["code"] == OFFSETS_REFUSED]

    try:
        [alert] = await until(lasting, seconds=20)
        assert not worker.runner.condition(), "nothing depends on it"
        await stranger.stop()
        await until(lambda: not lasting(), seconds=20)
        await worker.stop()
    finally:
        await stranger.stop()
        telemetry.clear_alert(OFFSETS_REFUSED)

    assert (alert["group"], alert["problem"]) == (group, "somebody else has joined it")
    committed = await committed_offsets(deployment.settings, names.group("ledger"))
    assert committed[names.INVOICES, deployment.home("order-1")] == 1
