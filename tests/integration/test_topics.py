"""`settlement topics` creates missing topics and refuses topics with wrong settings."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import TopicAuthorizationFailedError, UnknownTopicOrPartitionError
from aiokafka.protocol.admin import DescribeConfigsRequest

from tests.until import until
from worker.kafka import names, topics
from worker.kafka.connecting import admin_client
from worker.kafka.log_inspector import LogInspector
from worker.kafka.packing import BATCH_BYTES_MAX, pack
from worker.kafka.records import Outgoing
from worker.kafka.sink import Sink
from worker.settings import Settings
from worker.stack.broker import Broker
from worker.stack.home import Home

LATE_BROKER = 77


async def test_all_topics_of_the_contract_are_created_once(settings: Settings):
    created = await topics.create_missing(settings)

    assert sorted(created) == sorted(settings.topic(name) for name in names.TOPICS + names.DEAD_LETTER_TOPICS)
    assert await topics.create_missing(settings) == []


async def test_topic_creation_waits_until_every_broker_knows_the_topics(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    """The next broker that was asked did not know the topic yet, and the dead-letter topics were not created."""
    send, knows = AIOKafkaAdminClient._send_request, [False, False, True]

    async with admin_client(settings) as admin:
        [broker] = admin._client.cluster.brokers()
        both = {broker, broker._replace(nodeId=LATE_BROKER)}

        async def ask(admin: AIOKafkaAdminClient, request: Any, node_id: int | None = None) -> Any:
            answer = await send(admin, request, broker.nodeId)
            if node_id == LATE_BROKER and not knows.pop(0):
                answer.topics = [(UnknownTopicOrPartitionError.errno, name, False, []) for _, name, *_ in answer.topics]
            return answer

        monkeypatch.setattr(AIOKafkaAdminClient, "_send_request", ask)
        monkeypatch.setattr(admin._client.cluster, "brokers", lambda: both)
        await topics.create_topics(admin, [NewTopic(settings.topic(names.ORDERS), 3, 1)])

    assert knows == []


class AutoCreatingBroker(Broker):
    """A broker with Kafka's default: a request for a missing topic creates it, with the default partitions."""

    def _write_settings(self, data: Path) -> None:
        super()._write_settings(data)
        self._settings.write_text(self._settings.read_text() + "auto.create.topics.enable=true\n")


@pytest.fixture
def auto_creating_broker(tmp_path: Path) -> Iterator[str]:
    home = Home(tmp_path / "home")
    home.make()
    broker = AutoCreatingBroker(home)
    broker.start()
    yield broker.address
    broker.stop()


async def test_topics_are_created_correctly_on_a_broker_with_automatic_topic_creation(
    settings: Settings, auto_creating_broker: str
):
    settings = replace(settings, kafka_bootstrap_servers=auto_creating_broker)
    with pytest.raises(topics.TopicsError, match="is missing"):
        await topics.verify(settings)

    created = await topics.create_missing(settings)

    assert len(created) == len(names.TOPICS + names.DEAD_LETTER_TOPICS)
    await topics.verify(settings)
    assert (await _config(settings, names.ORDERS))["cleanup.policy"] == "compact"


async def test_a_wrong_number_of_partitions_is_refused(settings: Settings):
    await topics.create_missing(settings)

    with pytest.raises(topics.TopicsError, match="has 3 partitions, but TOPIC_PARTITIONS is 4"):
        await topics.create_missing(replace(settings, topic_partitions=4))


async def test_a_worker_names_a_missing_topic(settings: Settings):
    with pytest.raises(topics.TopicsError, match="is missing: `settlement topics` creates it"):
        await topics.verify(settings)


async def test_only_the_orders_topic_is_compacted_and_dead_letter_topics_accept_larger_records(settings: Settings):
    await topics.create_missing(settings)

    configs = {name: await _config(settings, name) for name in names.TOPICS + names.DEAD_LETTER_TOPICS}

    assert [name for name, config in configs.items() if config["cleanup.policy"] == "compact"] == [names.ORDERS]
    for name in names.INPUTS:
        limit = int(configs[name]["max.message.bytes"])
        assert int(configs[name + "-dlt"]["max.message.bytes"]) == limit + 64 * 1024


@pytest.mark.parametrize("topic", [names.COMMANDS, names.EVENTS, names.ORDERS])
async def test_output_topics_accept_the_records_of_an_order_with_thousands_of_payments(settings: Settings, topic: str):
    await topics.create_missing(settings)

    async with Sink(settings) as sink:
        [(_, _, ack)] = await sink.queue(pack([Outgoing(topic, 0, b"order", os.urandom(6 << 20), [])]))

        assert (await ack).offset == 0


async def test_an_existing_topic_with_too_small_a_record_limit_is_refused(settings: Settings):
    async with admin_client(settings) as admin:
        await topics.create_topics(admin, [NewTopic(settings.topic(names.ORDERS), 3, 1)])

    message = f"the topic {settings.topic(names.ORDERS)} takes records of 1200000 bytes at most"
    with pytest.raises(topics.TopicsError, match=message):
        await topics.create_missing(settings)

    await _alter(settings, names.ORDERS, "max.message.bytes", str(topics.OUTPUT_RECORD_BYTES_MAX))
    await topics.create_missing(settings)
    await topics.verify(settings)


async def test_the_dead_letter_topic_of_a_topic_with_a_small_record_limit_is_large_enough(settings: Settings):
    small = NewTopic(settings.topic(names.INVOICES), 3, 1, topic_configs={topics.LARGEST: "100000"})
    async with admin_client(settings) as admin:
        await topics.create_topics(admin, [small])

    await topics.create_missing(settings)

    limits = await topics.verify(settings)
    assert limits[names.INVOICES] == BATCH_BYTES_MAX


@pytest.mark.parametrize("name", [names.EVENTS, names.OUTCOMES, names.INVOICES + "-dlt"])
async def test_a_worker_refuses_a_topic_whose_record_limit_became_too_small(settings: Settings, name: str):
    await topics.create_missing(settings)
    await _alter(settings, name, "max.message.bytes", "500000")

    with pytest.raises(topics.TopicsError, match=r"takes records of 500000 bytes at most, .* set its max\.message"):
        await topics.verify(settings)


@pytest.mark.parametrize("name", [names.INVOICES, names.COMMANDS, names.OUTCOMES + "-dlt"])
@pytest.mark.parametrize("policy", ["compact", "compact,delete"])
async def test_a_compacted_topic_that_could_lose_unread_records_is_refused(settings: Settings, name: str, policy: str):
    await topics.create_missing(settings)
    await _alter(settings, name, "cleanup.policy", policy)

    for check in (topics.create_missing, topics.verify):
        with pytest.raises(topics.TopicsError, match="keeps only the last record of each key: set its cleanup"):
            await check(settings)


@pytest.mark.parametrize("name", [names.INVOICES, names.COMMANDS])
async def test_a_topic_with_unclean_leader_election_is_refused(settings: Settings, name: str):
    await topics.create_missing(settings)
    await _alter(settings, name, "unclean.leader.election.enable", "true")

    for check in (topics.create_missing, topics.verify):
        with pytest.raises(topics.TopicsError, match=r"lacks its newest records: set its unclean\.leader\.election"):
            await check(settings)


async def test_a_worker_names_the_topic_whose_settings_it_may_not_read(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    await topics.create_missing(settings)
    topic, send = settings.topic(names.EVENTS), AIOKafkaClient.send

    async def without_right(client: AIOKafkaClient, node_id: int, request: Any, **options: Any) -> Any:
        answer = await send(client, node_id, request, **options)
        if isinstance(request, DescribeConfigsRequest):
            code = TopicAuthorizationFailedError.errno
            answer.resources = [(code if topic == name else 0, text, kind, name, [])
                                for _, text, kind, name, _ in answer.resources]  # fmt: skip
        return answer

    monkeypatch.setattr(AIOKafkaClient, "send", without_right)
    with pytest.raises(topics.TopicsError, match=f"does not allow our user the topic {topic}: it needs "):
        await topics.verify(settings)
    inspector = LogInspector(settings, (names.EVENTS,))
    with pytest.raises(TopicAuthorizationFailedError, match=topic):
        await inspector.start()
    await inspector.stop()


async def _alter(settings: Settings, name: str, config: str, value: str) -> None:
    """Changes a setting and waits for it: a change is acknowledged by the controller, and brokers see it later."""
    async with admin_client(settings) as admin:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, settings.topic(name), {config: value})])

    async def applies() -> bool:
        return (await _config(settings, name))[config] == value

    await until(applies, seconds=20)


async def _config(settings: Settings, name: str) -> dict[str, str]:
    wanted = dict.fromkeys((topics.CLEANUP, topics.LARGEST, topics.UNCLEAN), "")
    async with admin_client(settings) as admin:
        [answer] = await admin.describe_configs(
            [ConfigResource(ConfigResourceType.TOPIC, settings.topic(name), wanted)]
        )
    return {entry[0]: entry[1] for entry in answer.resources[0][4]}
