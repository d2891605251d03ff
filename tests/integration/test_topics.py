"""`settlement topics` creates what is missing and refuses what was cut otherwise."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import UnknownTopicOrPartitionError

from tests.until import until
from worker.kafka import names, topics
from worker.kafka.connecting import admin_client
from worker.kafka.packing import BATCH_BYTES_MAX, pack
from worker.kafka.records import Outgoing
from worker.kafka.sink import Sink
from worker.settings import Settings, load
from worker.stack import StackEnv
from worker.stack.broker import Broker
from worker.stack.home import Home

LATE = 77


@pytest.fixture
def settings(stack: StackEnv, topic_prefix: str) -> Settings:
    return load(stack.as_settings() | {"TOPIC_PREFIX": topic_prefix, "TOPIC_PARTITIONS": "3"})


async def test_all_topics_of_the_contract_are_made_once(settings: Settings):
    made = await topics.create_missing(settings)

    assert sorted(made) == sorted(settings.topic(name) for name in names.TOPICS + names.DEAD_LETTER_TOPICS)
    assert await topics.create_missing(settings) == []


async def test_topics_are_made_once_every_broker_knows_them(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    """Of three brokers the next one asked said that there is no such topic, and the dead letters' were not made."""
    sent, knew = AIOKafkaAdminClient._send_request, [False, False, True]

    async with admin_client(settings) as admin:
        [broker] = admin._client.cluster.brokers()
        both = {broker, broker._replace(nodeId=LATE)}

        async def ask(admin: AIOKafkaAdminClient, request: Any, node_id: int | None = None) -> Any:
            answer = await sent(admin, request, broker.nodeId)
            if node_id == LATE and not knew.pop(0):
                answer.topics = [(UnknownTopicOrPartitionError.errno, name, False, []) for _, name, *_ in answer.topics]
            return answer

        monkeypatch.setattr(AIOKafkaAdminClient, "_send_request", ask)
        monkeypatch.setattr(admin._client.cluster, "brokers", lambda: both)
        await topics.create_topics(admin, [NewTopic(settings.topic(names.ORDERS), 3, 1)])

    assert knew == []


class BrokerAsItComes(Broker):
    """Kafka's own default: whoever asks about a topic that is missing makes it, with the broker's partitions."""

    def _write_settings(self, data: Path) -> None:
        super()._write_settings(data)
        self._settings.write_text(self._settings.read_text() + "auto.create.topics.enable=true\n")


@pytest.fixture
def broker_as_it_comes(tmp_path: Path) -> Iterator[str]:
    home = Home(tmp_path / "home")
    home.make()
    broker = BrokerAsItComes(home)
    broker.start()
    yield broker.address
    broker.stop()


async def test_topics_are_cut_as_they_must_be_where_the_broker_makes_each_that_is_asked_for(
    settings: Settings, broker_as_it_comes: str
):
    settings = replace(settings, kafka_bootstrap_servers=broker_as_it_comes)
    with pytest.raises(topics.TopicsError, match="is missing"):
        await topics.verify(settings)

    made = await topics.create_missing(settings)

    assert len(made) == len(names.TOPICS + names.DEAD_LETTER_TOPICS)
    await topics.verify(settings)
    assert (await _config(settings, names.ORDERS))["cleanup.policy"] == "compact"


async def test_a_wrong_number_of_partitions_is_refused(settings: Settings):
    await topics.create_missing(settings)

    with pytest.raises(topics.TopicsError, match="has 3 partitions, but TOPIC_PARTITIONS is 4"):
        await topics.create_missing(replace(settings, topic_partitions=4))


async def test_a_worker_names_the_topic_that_is_missing(settings: Settings):
    with pytest.raises(topics.TopicsError, match="is missing: `settlement topics` creates it"):
        await topics.verify(settings)


async def test_only_the_state_of_orders_is_compacted_and_dead_letters_are_allowed_more(settings: Settings):
    await topics.create_missing(settings)

    configs = {name: await _config(settings, name) for name in names.TOPICS + names.DEAD_LETTER_TOPICS}

    assert [name for name, config in configs.items() if config["cleanup.policy"] == "compact"] == [names.ORDERS]
    for name in names.INPUTS:
        limit = int(configs[name]["max.message.bytes"])
        assert int(configs[name + "-dlt"]["max.message.bytes"]) == limit + 64 * 1024


@pytest.mark.parametrize("topic", [names.COMMANDS, names.EVENTS, names.ORDERS])
async def test_what_is_told_of_an_order_with_thousands_of_payments_fits_its_topic(settings: Settings, topic: str):
    await topics.create_missing(settings)

    async with Sink(settings) as sink:
        [(_, _, ack)] = await sink.hand_over(pack([Outgoing(topic, 0, b"order", os.urandom(6 << 20), [])]))

        assert (await ack).offset == 0


async def test_a_topic_that_others_made_too_narrow_for_a_large_order_is_refused_by_name(settings: Settings):
    async with admin_client(settings) as admin:
        await topics.create_topics(admin, [NewTopic(settings.topic(names.ORDERS), 3, 1)])

    narrow = f"the topic {settings.topic(names.ORDERS)} takes records of 1200000 bytes at most"
    with pytest.raises(topics.TopicsError, match=narrow):
        await topics.create_missing(settings)

    await _alter(settings, names.ORDERS, "max.message.bytes", str(topics.OUTPUT_RECORD_BYTES_MAX))
    await topics.create_missing(settings)
    await topics.verify(settings)


async def test_dead_letters_of_a_topic_that_takes_little_get_a_topic_that_the_workers_take(settings: Settings):
    little = NewTopic(settings.topic(names.INVOICES), 3, 1, topic_configs={topics.LARGEST: "100000"})
    async with admin_client(settings) as admin:
        await topics.create_topics(admin, [little])

    await topics.create_missing(settings)

    limits = await topics.verify(settings)
    assert limits[names.INVOICES] == BATCH_BYTES_MAX


@pytest.mark.parametrize("name", [names.EVENTS, names.OUTCOMES, names.INVOICES + "-dlt"])
async def test_a_worker_refuses_a_topic_that_became_too_narrow(settings: Settings, name: str):
    await topics.create_missing(settings)
    await _alter(settings, name, "max.message.bytes", "500000")

    with pytest.raises(topics.TopicsError, match=r"takes records of 500000 bytes at most, .* set its max\.message"):
        await topics.verify(settings)


@pytest.mark.parametrize("name", [names.INVOICES, names.COMMANDS, names.OUTCOMES + "-dlt"])
@pytest.mark.parametrize("policy", ["compact", "compact,delete"])
async def test_a_topic_that_would_lose_commands_nobody_has_read_is_refused_by_name(
    settings: Settings, name: str, policy: str
):
    await topics.create_missing(settings)
    await _alter(settings, name, "cleanup.policy", policy)

    for look in (topics.create_missing, topics.verify):
        with pytest.raises(topics.TopicsError, match="keeps only the last record of each key: set its cleanup"):
            await look(settings)


@pytest.mark.parametrize("name", [names.INVOICES, names.COMMANDS])
async def test_a_topic_that_a_broker_may_lead_that_lacks_its_newest_records_is_refused_by_name(
    settings: Settings, name: str
):
    await topics.create_missing(settings)
    await _alter(settings, name, "unclean.leader.election.enable", "true")

    for look in (topics.create_missing, topics.verify):
        with pytest.raises(topics.TopicsError, match=r"lacks its newest records: set its unclean\.leader\.election"):
            await look(settings)


async def _alter(settings: Settings, name: str, config: str, value: str) -> None:
    """Acknowledged is a change once the controller has it; the broker that is asked next hears of it a little later."""
    async with admin_client(settings) as admin:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, settings.topic(name), {config: value})])

    async def told() -> bool:
        return (await _config(settings, name))[config] == value

    await until(told, seconds=20)


async def _config(settings: Settings, name: str) -> dict[str, str]:
    wanted = dict.fromkeys((topics.CLEANUP, topics.LARGEST, topics.UNCLEAN), "")
    async with admin_client(settings) as admin:
        [found] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, settings.topic(name), wanted)])
    return {entry[0]: entry[1] for entry in found.resources[0][4]}
