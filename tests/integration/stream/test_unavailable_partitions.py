"""A partition without a leader, or with too few replicas in sync, waits alone: its worker goes on with all others."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from tests.brokers import FIRST, JoiningBroker, cluster, placed
from tests.integration.stream.deployment import PARTITIONS, PATIENCE_SECONDS, StreamDeployment, deployed
from tests.integration.stream.in_process_worker import InProcessWorker, start_and_consume
from tests.until import until
from worker import telemetry
from worker.kafka import names, sink, topics
from worker.kafka.connecting import admin_client, client_options
from worker.kafka.log_inspector import IN_SYNC_MIN
from worker.stack.broker import Broker
from worker.stream import availability
from worker.stream.session_health import KAFKA_AWAY

REFUSED = names.INVOICES + names.DEAD_LETTER_SUFFIX
SECOND, THIRD = FIRST + 1, FIRST + 2
# These need the second broker: one partition of an input, of an output and of a dead letter topic.
FRAGILE = {(names.INVOICES, 1), (names.ORDERS, 2), (REFUSED, 3)}
STRANDED = {partition for _, partition in FRAGILE}

Brokers = tuple[Broker, JoiningBroker, JoiningBroker]


@pytest.fixture(scope="module")
async def brokers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Brokers]:
    async with cluster(tmp_path_factory.mktemp("brokers"), 3) as (first, [second, third]):
        yield first, second, third


@pytest.fixture
def second(brokers: Brokers) -> JoiningBroker:
    return brokers[1]


@pytest.fixture
def third(brokers: Brokers) -> JoiningBroker:
    return brokers[2]


@pytest.fixture
def replicas() -> int:
    """Of each partition of the output: with one, the fragile one loses its leader; with two, one of those in sync."""
    return 2


@pytest.fixture
async def deployment(
    environment: dict[str, str], brokers: Brokers, replicas: int, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[StreamDeployment]:  # fmt: skip
    """All brokers run, also when the next test begins."""
    first, *others = brokers

    def brokers_of(topic: str, partition: int) -> list[int]:
        fragile = (topic, partition) in FRAGILE
        if topic == names.ORDER_CHANGES:  # an input, which needs only a leader
            return [FIRST, SECOND]
        if topic == names.ORDERS and replicas > 1:
            return [FIRST, SECOND if fragile else THIRD]
        return [SECOND if fragile else FIRST]

    monkeypatch.setattr(topics, "NewTopic", placed(environment["TOPIC_PREFIX"], brokers_of))
    monkeypatch.setattr(sink, "REPLICAS_SECONDS_MAX", 0.5)
    async with deployed(environment | {"KAFKA_BOOTSTRAP_SERVERS": first.address}, tmp_path) as deployment:
        yield deployment
        for broker in others:
            if not broker.is_up():
                await asyncio.to_thread(broker.start)


def order_in(deployment: StreamDeployment, partition: int) -> str:
    """An order whose home is this partition."""
    return next(order for number in count() if deployment.home(order := f"order-{number}") == partition)


async def require_in_sync(deployment: StreamDeployment, number: int) -> None:
    """Lets the output be written while this number of its replicas is in sync."""
    topic, needed = deployment.settings.topic(names.ORDERS), {topics.LARGEST: str(topics.OUTPUT_RECORD_BYTES_MAX)}
    async with admin_client(deployment.settings) as admin:
        await admin.alter_configs([
            ConfigResource(ConfigResourceType.TOPIC, topic, {**needed, IN_SYNC_MIN: str(number)})
        ])  # fmt: skip


def kafka_alerts() -> list[str]:
    return [alert["problem"] for alert in telemetry.lasting_alerts() if alert["code"] == KAFKA_AWAY]


def problem(worker: InProcessWorker) -> str:
    return worker.runner.condition().get("problem", "")


async def test_a_worker_that_starts_while_kafka_cannot_serve_partitions_takes_the_others_and_names_those(
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
        f"Kafka has no leader, or too few replicas in sync, for {topic(names.INVOICES)} partition 1, "
        f"{topic(REFUSED)} partition 3, {topic(names.ORDERS)} partition 2: all records of partitions 1, 2, 3 wait"
    )
    await until(lambda: kafka_alerts() == [problem(worker)], PATIENCE_SECONDS)
    assert worker.toy.drops == 0

    await asyncio.to_thread(second.start)
    await deployment.check_orders(dict.fromkeys(readable.values(), 1))
    await until(lambda: not problem(worker) and not kafka_alerts(), PATIENCE_SECONDS)
    assert worker.toy.drops == 0
    await worker.stop()


@pytest.mark.parametrize("replicas", [1, 2])
async def test_a_partition_that_kafka_ceases_to_serve_waits_alone_and_goes_on_in_order_without_repeats(
    deployment: StreamDeployment, second: JoiningBroker, monkeypatch: pytest.MonkeyPatch
):
    """A broker that is killed may leave a leader with records that it has written and refuses to acknowledge."""
    monkeypatch.setattr(availability, "UNAVAILABLE_SECONDS_MAX", 60.0)
    gives_up_soon = {**client_options(deployment.settings), "request_timeout_ms": 1_000}
    monkeypatch.setattr(sink, "client_options", lambda _: gives_up_soon)
    worker = await start_and_consume(deployment)
    stranded, other = order_in(deployment, 2), order_in(deployment, 4)
    await asyncio.to_thread(second.kill)
    sent = dict.fromkeys((stranded, other), 0)

    async def send(order: str, partition: int | None = None) -> None:
        sent[order] += 1
        await deployment.send(order, partition=partition)

    await send(stranded)
    await until(lambda: worker.session.availability.missing() == STRANDED, PATIENCE_SECONDS)
    for seen in (3, 4):  # one more waits in Kafka's client, and one for room in it
        await send(stranded)
        await deployment.until_seen(seen)
    monkeypatch.setattr(availability, "UNAVAILABLE_SECONDS_MAX", 0.0)
    await until(lambda: 2 not in worker.control.epochs, PATIENCE_SECONDS)
    await send(stranded, 4)  # misplaced: decided all the same
    await send(other)
    for _ in range(3):  # for longer than the producer waits for anything
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
    published = [version for order, version in deployment.states() if order == stranded]
    assert published == list(range(1, sent[stranded] + 1))
    await worker.stop()


async def test_a_leader_that_waits_for_a_dead_replica_soon_takes_the_writes_of_other_partitions(
    deployment: StreamDeployment, second: JoiningBroker
):
    """It answers one request after another, and that one only when Kafka's client gave up, after 15 s."""
    worker = await start_and_consume(deployment)
    stranded, other = order_in(deployment, 2), order_in(deployment, 4)
    await asyncio.to_thread(second.kill)

    await deployment.send(stranded)
    await deployment.until_seen(2)
    await deployment.send(other)

    async with asyncio.timeout(10):
        await deployment.until_published({other: 1})
    await asyncio.to_thread(second.start)
    await deployment.check_orders({"order-1": 1, stranded: 1, other: 1})
    assert worker.toy.drops == 0
    await worker.stop()


async def test_a_partition_goes_on_once_fewer_replicas_are_enough(
    deployment: StreamDeployment, second: JoiningBroker, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(availability, "UNAVAILABLE_SECONDS_MAX", 0.0)
    worker = await start_and_consume(deployment)
    stranded = order_in(deployment, 2)
    await asyncio.to_thread(second.stop)
    await until(lambda: 2 not in worker.control.epochs, PATIENCE_SECONDS)
    await deployment.send(stranded)

    await require_in_sync(deployment, 1)

    await deployment.check_orders({"order-1": 1, stranded: 1})
    assert worker.toy.drops == 0
    await worker.stop()


async def test_a_partition_waits_alone_once_more_replicas_are_needed_than_are_in_sync(
    deployment: StreamDeployment, third: JoiningBroker, monkeypatch: pytest.MonkeyPatch
):
    """Its leader refused each write, and the worker did not know why: after two time-outs the session ended."""
    monkeypatch.setattr(availability, "UNAVAILABLE_SECONDS_MAX", 0.0)
    await require_in_sync(deployment, 1)
    worker = await start_and_consume(deployment)
    stranded, other = order_in(deployment, 4), order_in(deployment, 2)
    await asyncio.to_thread(third.stop)
    await deployment.send(stranded)
    await deployment.until_published({stranded: 1})

    await require_in_sync(deployment, 2)

    await until(lambda: set(worker.control.epochs) == {2}, PATIENCE_SECONDS)
    await deployment.send(stranded)
    await deployment.send(other)
    await deployment.until_published({other: 1})
    await require_in_sync(deployment, 1)
    await deployment.check_orders({"order-1": 1, stranded: 2, other: 1})
    assert worker.toy.drops == 0
    await worker.stop()


@pytest.mark.parametrize("replicas", [1, 2])
async def test_partitions_that_kafka_cannot_serve_change_hands_and_keep_no_worker_from_ending(
    deployment: StreamDeployment, second: JoiningBroker, monkeypatch: pytest.MonkeyPatch
):
    """Nor do rows of such a partition that wait in a worker's memory."""
    monkeypatch.setattr(availability, "UNAVAILABLE_SECONDS_MAX", 60.0)
    worker = await start_and_consume(deployment)
    stranded = order_in(deployment, 2)
    await asyncio.to_thread(second.stop)
    await deployment.send(stranded)
    await until(worker.session._publisher.waiting_seconds, PATIENCE_SECONDS)
    monkeypatch.setattr(availability, "UNAVAILABLE_SECONDS_MAX", 0.0)
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
