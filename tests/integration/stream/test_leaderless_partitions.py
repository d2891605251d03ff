"""A partition without a leader waits alone: its worker takes, reads and publishes all others."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest

from tests.brokers import FIRST, JoiningBroker, cluster, placed
from tests.integration.stream.deployment import PARTITIONS, PATIENCE_SECONDS, StreamDeployment, deployed
from tests.integration.stream.in_process_worker import InProcessWorker, start_and_consume
from tests.until import until
from worker import telemetry
from worker.kafka import connecting, names, topics
from worker.stack.broker import Broker
from worker.stream import leaders
from worker.stream.session_health import KAFKA_AWAY

REFUSED = names.INVOICES + names.DEAD_LETTER_SUFFIX
# Only the second broker has these: one partition of an input, of an output and of a dead letter topic.
FRAGILE = {(names.INVOICES, 1), (names.ORDERS, 2), (REFUSED, 3)}
STRANDED = {partition for _, partition in FRAGILE}


@pytest.fixture(scope="module")
async def brokers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Broker, JoiningBroker]]:
    async with cluster(tmp_path_factory.mktemp("brokers"), 2) as (first, [second]):
        yield first, second


@pytest.fixture
def second(brokers: tuple[Broker, JoiningBroker]) -> JoiningBroker:
    return brokers[1]


@pytest.fixture
async def deployment(
    environment: dict[str, str], brokers: tuple[Broker, JoiningBroker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[StreamDeployment]:
    """Its clients give up after a second. Both brokers run, also when the next test begins."""
    first, second = brokers
    new_topic = placed(environment["TOPIC_PREFIX"], lambda name, number: FIRST + ((name, number) in FRAGILE))
    monkeypatch.setattr(topics, "NewTopic", new_topic)
    monkeypatch.setattr(connecting, "REQUEST_TIMEOUT_MS", 1_000)
    async with deployed(environment | {"KAFKA_BOOTSTRAP_SERVERS": first.address}, tmp_path) as deployment:
        yield deployment
        if not second.is_up():
            await asyncio.to_thread(second.start)
    telemetry.clear_alert(KAFKA_AWAY)


def order_in(deployment: StreamDeployment, partition: int) -> str:
    """An order whose home is this partition."""
    return next(order for number in count() if deployment.home(order := f"order-{number}") == partition)


def kafka_alerts() -> list[str]:
    return [alert["problem"] for alert in telemetry.lasting_alerts() if alert["code"] == KAFKA_AWAY]


def problem(worker: InProcessWorker) -> str:
    return worker.runner.condition().get("problem", "")


async def test_a_worker_that_starts_while_partitions_have_no_leader_takes_the_others_and_names_those(
    deployment: StreamDeployment, second: JoiningBroker
):
    orders = {partition: order_in(deployment, partition) for partition in range(PARTITIONS)}
    readable = {partition: order for partition, order in orders.items() if (names.INVOICES, partition) not in FRAGILE}
    await asyncio.to_thread(second.stop)
    for order in readable.values():
        await deployment.send(order)

    worker = InProcessWorker(deployment.settings)

    await deployment.check_orders({order: 1 for partition, order in orders.items() if partition not in STRANDED})
    topic = deployment.settings.topic
    assert problem(worker) == (
        f"Kafka has no leader for {topic(names.INVOICES)} partition 1, {topic(REFUSED)} partition 3, "
        f"{topic(names.ORDERS)} partition 2: all records of partitions 1, 2, 3 wait"
    )
    await until(lambda: kafka_alerts() == [problem(worker)], PATIENCE_SECONDS)
    assert worker.toy.drops == 0

    await asyncio.to_thread(second.start)
    await deployment.check_orders(dict.fromkeys(readable.values(), 1))
    await until(lambda: not problem(worker) and not kafka_alerts(), PATIENCE_SECONDS)
    assert worker.toy.drops == 0
    await worker.stop()


async def test_a_partition_that_loses_its_leader_waits_alone_and_goes_on_in_order(
    deployment: StreamDeployment, second: JoiningBroker, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(leaders, "LEADERLESS_SECONDS_MAX", 60.0)
    worker = await start_and_consume(deployment)
    stranded, other = order_in(deployment, 2), order_in(deployment, 4)
    await asyncio.to_thread(second.stop)
    sent = dict.fromkeys((stranded, other), 0)

    async def send(order: str, partition: int | None = None) -> None:
        sent[order] += 1
        await deployment.send(order, partition=partition)

    await send(stranded)
    await until(worker.session._publisher.waiting_seconds, PATIENCE_SECONDS)
    await send(stranded)
    await deployment.until_seen(3)
    monkeypatch.setattr(leaders, "LEADERLESS_SECONDS_MAX", 0.0)
    await until(lambda: 2 not in worker.control.epochs, PATIENCE_SECONDS)
    await send(stranded, 4)  # misplaced: decided all the same
    await send(other)
    for _ in range(3):  # for longer than the client waits for anything
        before = worker.session._publisher.waiting_seconds()
        await send(other)
        await deployment.until_published({other: sent[other]})
        await until(lambda before=before: worker.session._publisher.waiting_seconds() > before + 1, PATIENCE_SECONDS)

    assert worker.toy.drops == 0
    await asyncio.to_thread(second.start)
    await deployment.check_orders(sent | {"order-1": 1})
    await until(lambda: not problem(worker), PATIENCE_SECONDS)
    await deployment.until_quiet()
    assert worker.toy.drops == 0
    await worker.stop()


async def test_partitions_without_a_leader_change_hands_and_keep_no_worker_from_ending(
    deployment: StreamDeployment, second: JoiningBroker, monkeypatch: pytest.MonkeyPatch
):
    """Nor do rows of such a partition that wait in a worker's memory."""
    monkeypatch.setattr(leaders, "LEADERLESS_SECONDS_MAX", 60.0)
    worker = await start_and_consume(deployment)
    stranded = order_in(deployment, 2)
    await asyncio.to_thread(second.stop)
    await deployment.send(stranded)
    await until(worker.session._publisher.waiting_seconds, PATIENCE_SECONDS)
    monkeypatch.setattr(leaders, "LEADERLESS_SECONDS_MAX", 0.0)
    await until(lambda: set(worker.control.epochs) == set(range(PARTITIONS)) - STRANDED, PATIENCE_SECONDS)

    other = InProcessWorker(deployment.settings)
    await deployment.until_shared(PARTITIONS // 2, PARTITIONS // 2)
    await asyncio.wait_for(worker.stop(), 10)
    await deployment.until_shared(PARTITIONS)
    await until(lambda: set(other.control.epochs) == set(range(PARTITIONS)) - STRANDED, PATIENCE_SECONDS)
    await asyncio.to_thread(second.start)
    await deployment.check_orders({"order-1": 1, stranded: 1})

    await until(lambda: len(other.control.epochs) == PARTITIONS, PATIENCE_SECONDS)
    await other.stop()
