"""Creates missing topics, and refuses topics whose settings would lose or stop records."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    KafkaConnectionError,
    MessageSizeTooLargeError,
    NodeNotReadyError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.metadata import MetadataRequest

from worker.kafka import names
from worker.kafka.connecting import admin_client
from worker.kafka.packing import BATCH_BYTES_MAX
from worker.kafka.refusals import refusal
from worker.kafka.topic_settings import topic_settings
from worker.settings import Settings

DEAD_LETTER_MARGIN_BYTES = 64 * 1024
# Our records about an order grow with it and carry the facts that caused them, so they may be larger than an input.
OUTPUT_RECORD_BYTES_MAX = 8 << 20
LEDGER_OUTPUTS = (names.COMMANDS, names.EVENTS, names.ORDERS)
LARGEST, CLEANUP, UNCLEAN = "max.message.bytes", "cleanup.policy", "unclean.leader.election.enable"
VISIBLE_SECONDS_MAX = 15
VISIBLE_POLL_SECONDS = 0.05
# The errors of a topic that was changed, or of its rights, after `verify`.
TOPIC_CHANGED = (MessageSizeTooLargeError, TopicAuthorizationFailedError, UnknownTopicOrPartitionError)
_LONG_MS = 365 * 24 * 3_600_000


class TopicsError(Exception):
    """One sentence: which topic is wrong, and what to set."""


async def create_missing(settings: Settings) -> list[str]:
    """Creates missing topics and returns their names; raises `TopicsError` before it changes anything."""
    async with admin_client(settings) as admin:
        counts = await partition_counts(admin, settings, names.TOPICS + names.DEAD_LETTER_TOPICS)
        refuse_wrong_counts(settings, counts)
        _refuse_unfit(settings, await _configs(admin, counts))
        made = await create_topics(admin, [
            _topic(settings, name, {}) for name in names.TOPICS if settings.topic(name) not in counts
        ])  # fmt: skip
        # The largest record of an input is known once it exists, since brokers have different defaults.
        configs = await _configs(admin, [settings.topic(name) for name in names.INPUTS])
        return made + await create_topics(admin, [
            _topic(settings, name, configs) for name in names.DEAD_LETTER_TOPICS if settings.topic(name) not in counts
        ])  # fmt: skip


async def verify(settings: Settings) -> dict[str, int]:
    """Raises `TopicsError` unless all topics exist as they must be; returns each input's largest dead letter."""
    async with admin_client(settings) as admin:
        wanted = names.TOPICS + names.DEAD_LETTER_TOPICS
        counts = await partition_counts(admin, settings, wanted)
        refuse_wrong_counts(settings, counts)
        for name in wanted:
            if settings.topic(name) not in counts:
                raise TopicsError(f"the topic {settings.topic(name)} is missing: `settlement topics` creates it")
        configs = await _configs(admin, counts)
        _refuse_unfit(settings, configs)
        dead = {name: configs[settings.topic(name + names.DEAD_LETTER_SUFFIX)] for name in names.INPUTS}
        return {name: int(config[LARGEST]) for name, config in dead.items()}


def refuse_wrong_counts(settings: Settings, counts: dict[str, int]) -> None:
    """All topics of a deployment have the same number of partitions."""
    for name, count in sorted(counts.items()):
        if count != settings.topic_partitions:
            raise TopicsError(
                f"the topic {name} has {count} partitions, but TOPIC_PARTITIONS is "
                f"{settings.topic_partitions}: all topics of a deployment have the same number"
            )


def _refuse_unfit(settings: Settings, configs: Mapping[str, Mapping[str, str]]) -> None:
    """Refuses settings that would lose records before they are read, or refuse what we write."""
    for topic, config in configs.items():
        name = topic.removeprefix(settings.topic_prefix)
        if name != names.ORDERS and "compact" in config[CLEANUP]:
            raise TopicsError(f"the topic {topic} keeps only the last record of each key: set its {CLEANUP} to delete")
        if config.get(UNCLEAN) == "true":
            raise TopicsError(
                f"the topic {topic} may be led by a broker that lacks its newest records: set its {UNCLEAN} to false"
            )
        if int(config[LARGEST]) < (wanted := _written_bytes_max(name)):
            raise TopicsError(
                f"the topic {topic} takes records of {config[LARGEST]} bytes at most, but ours may have {wanted}: set "
                f"its {LARGEST} to {wanted}"
            )


def _written_bytes_max(name: str) -> int:
    """The largest record that we write there: one that the topic refuses would stop each owner of its partition."""
    if name in LEDGER_OUTPUTS:
        return OUTPUT_RECORD_BYTES_MAX
    return BATCH_BYTES_MAX if name == names.OUTCOMES or name.endswith(names.DEAD_LETTER_SUFFIX) else 0


async def _configs(admin: AIOKafkaAdminClient, topics: Iterable[str]) -> dict[str, dict[str, str]]:
    try:
        return await topic_settings(admin._client, topics, (LARGEST, CLEANUP, UNCLEAN))  # noqa: SLF001
    except TopicAuthorizationFailedError as problem:
        raise TopicsError(f"Kafka {refusal(problem)}") from problem


async def partition_counts(admin: AIOKafkaAdminClient, settings: Settings, wanted: Iterable[str]) -> dict[str, int]:
    """The number of partitions of those topics that exist. The request does not let a broker create the others."""
    counts: dict[str, int] = {}
    request = MetadataRequest([settings.topic(name) for name in wanted], allow_auto_topic_creation=False)
    answer = await admin._send_request(request)  # noqa: SLF001 - no public way asks without creating
    for topic in answer.to_object()["topics"]:
        if topic["error_code"] == UnknownTopicOrPartitionError.errno:
            continue
        _raise_for(topic["error_code"], topic["topic"])
        counts[topic["topic"]] = len(topic["partitions"])
    return counts


def _topic(settings: Settings, name: str, inputs: Mapping[str, Mapping[str, str]]) -> NewTopic:
    """`inputs`: the settings of the topics that have dead letters."""
    config: dict[str, Any] = {CLEANUP: "compact" if name == names.ORDERS else "delete"}
    if name.endswith(names.DEAD_LETTER_SUFFIX):
        original = settings.topic(name.removesuffix(names.DEAD_LETTER_SUFFIX))
        config[LARGEST] = str(max(int(inputs[original][LARGEST]) + DEAD_LETTER_MARGIN_BYTES, _written_bytes_max(name)))
    if name in LEDGER_OUTPUTS:
        config[LARGEST] = str(OUTPUT_RECORD_BYTES_MAX)
    if name == names.EVENTS or name.endswith(names.DEAD_LETTER_SUFFIX):
        config["retention.ms"] = str(_LONG_MS)
    # An empty assignment lets the broker choose both replicas and their number.
    return NewTopic(settings.topic(name), settings.topic_partitions, -1, {}, config)


async def create_topics(admin: AIOKafkaAdminClient, wanted: Sequence[NewTopic]) -> list[str]:
    """Creates topics; returns their names once every broker knows them."""
    if not wanted:
        return []
    response = await admin.create_topics(list(wanted))
    for name, code, *_ in response.topic_errors:
        if code != TopicAlreadyExistsError.errno:  # created by another process meanwhile
            _raise_for(code, name)
    made = [topic.name for topic in wanted]
    await _until_visible(admin, made)
    return made


async def _until_visible(admin: AIOKafkaAdminClient, topics: list[str]) -> None:
    """Waits until each broker knows the topics and their leaders, since the next request may go to any broker.

    Brokers learn of new topics one after another. A broker that is away learns of them before it answers anybody.
    """
    request = MetadataRequest(topics, allow_auto_topic_creation=False)
    async with asyncio.timeout(VISIBLE_SECONDS_MAX):
        for broker in admin._client.cluster.brokers():  # noqa: SLF001 - there is no public way to ask each of them
            with suppress(KafkaConnectionError, NodeNotReadyError):
                while not await _knows_leaders(admin, broker.nodeId, request):  # noqa: ASYNC110 - only the broker knows
                    await asyncio.sleep(VISIBLE_POLL_SECONDS)


async def _knows_leaders(admin: AIOKafkaAdminClient, broker: int, request: MetadataRequest) -> bool:
    """Whether a broker knows every requested topic, and a leader of each of its partitions."""
    answer = await admin._send_request(request, broker)  # noqa: SLF001
    return all(
        not topic["error_code"] and all(partition["leader"] >= 0 for partition in topic["partitions"])
        for topic in answer.to_object()["topics"]
    )


def _raise_for(code: int, name: str) -> None:
    error = for_code(code)
    if refused := refusal(error(name)):
        raise TopicsError(f"Kafka {refused}")
    if code:
        raise TopicsError(f"the topic {name}: {error.description or error.__name__}")
