"""Prepares Kafka for the view: Faust's options, the changelog topics of its tables, and a reset where one is lost."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import GroupCoordinatorNotAvailableError
from faust import SASLCredentials, SSLCredentials

from worker.kafka.connecting import admin_client, client_options, consumer
from worker.kafka.topics import (
    VISIBLE_POLL_SECONDS,
    VISIBLE_SECONDS_MAX,
    TopicsError,
    create_topics,
    partition_counts,
    refuse_wrong_counts,
)
from worker.settings import Settings

SESSION_SECONDS = 10.0
POLL_RECORDS_MAX = 1_000
WRITE_LINGER_SECONDS = 0.02
WRITE_BYTES_MAX = 256 * 1024  # of one partition in one request


def faust_options(settings: Settings) -> dict[str, Any]:
    """Faust with our topics only: no web server, no leader topic, nothing created or discovered automatically."""
    return {
        "broker": [f"kafka://{address.strip()}" for address in settings.bootstrap.split(",")],
        "broker_credentials": _credentials(settings),
        "topic_partitions": settings.topic_partitions,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "consumer_auto_offset_reset": "earliest",
        # Without it Faust takes everything that was fetched at once, and a compressed batch inflates many times over.
        "broker_max_poll_records": POLL_RECORDS_MAX,
        # How long the consumer group waits for a member that was killed.
        "broker_session_timeout": SESSION_SECONDS,
        "broker_heartbeat_interval": SESSION_SECONDS / 4,
        "producer_acks": -1,
        # A batch changes thousands of rows, and each would be a request of its own.
        "producer_linger": WRITE_LINGER_SECONDS,
        "producer_max_batch_size": WRITE_BYTES_MAX,
        "store": "memory://",
        "web_enabled": False,
        "autodiscover": False,
    }


async def prepare(
    settings: Settings, group: str, sources: Sequence[str], changelogs: Mapping[str, Mapping[str, str]]
) -> None:
    """Creates the changelog topics, with as many partitions as the source topics have.

    Faust would create them with one replica, and never notices that one is gone: it would go on from the committed
    offsets with empty tables. So if one is lost, all are created anew and the sources are read from their beginning.
    """
    async with admin_client(settings) as admin:
        found = await partition_counts(admin, settings, [*sources, *changelogs])
        for name in map(settings.topic, sources):
            if name not in found:
                raise TopicsError(f"the topic {name} is missing: `settlement topics` creates it")
        refuse_wrong_counts(settings, {name: found[name] for name in map(settings.topic, sources)})
        usable = [name for name in changelogs if found.get(settings.topic(name)) == settings.topic_partitions]
        if len(usable) == len(changelogs) and not await _were_emptied(settings, group, sources, changelogs):
            return
        await _wait_until_group_is_empty(admin, settings.topic(group))
        await _delete(admin, settings, [name for name in changelogs if settings.topic(name) in found])
        await create_topics(admin, [
            NewTopic(settings.topic(name), settings.topic_partitions, -1, {}, dict(config))
            for name, config in changelogs.items()
        ])  # fmt: skip
    await _reset_offsets(settings, group, sources)


async def _were_emptied(
    settings: Settings, group: str, sources: Sequence[str], changelogs: Mapping[str, Mapping[str, str]]
) -> bool:
    """Whether the group has committed offsets, yet the changelogs that never expire hold no record."""
    compacted = [name for name, config in changelogs.items() if config["cleanup.policy"] == "compact"]
    async with _member(settings, group) as member:
        committed = [await member.committed(place) for place in _places(settings, sources)]
        first = await member.beginning_offsets(_places(settings, compacted))
        end = await member.end_offsets(_places(settings, compacted))
    return any(committed) and first == end


async def _reset_offsets(settings: Settings, group: str, sources: Sequence[str]) -> None:
    async with _member(settings, group) as member:
        places = _places(settings, sources)
        member.assign(places)
        await member.commit(await member.beginning_offsets(places))


async def _wait_until_group_is_empty(admin: AIOKafkaAdminClient, group: str) -> None:
    """A view that was killed stays a member until its session times out; one that lives must keep its tables."""
    try:
        async with asyncio.timeout(2 * SESSION_SECONDS):
            while not await _is_empty(admin, group):  # noqa: ASYNC110 - only the brokers know
                await asyncio.sleep(VISIBLE_POLL_SECONDS)
    except TimeoutError:
        raise TopicsError(
            f"the ops view has to make its tables anew, but another one of the group {group} is running: stop it"
        ) from None


async def _is_empty(admin: AIOKafkaAdminClient, group: str) -> bool:
    try:
        answers = await admin.describe_consumer_groups([group])
    except GroupCoordinatorNotAvailableError:  # on a new cluster, until its first group exists
        return False
    return all(described[2] in ("Empty", "Dead") for answer in answers for described in answer.groups)


def _member(settings: Settings, group: str) -> AbstractAsyncContextManager[AIOKafkaConsumer]:
    return consumer(settings, group_id=settings.topic(group), enable_auto_commit=False)


async def _delete(admin: AIOKafkaAdminClient, settings: Settings, topics: Sequence[str]) -> None:
    if not topics:
        return
    await admin.delete_topics([settings.topic(name) for name in topics])
    async with asyncio.timeout(VISIBLE_SECONDS_MAX):
        while await partition_counts(admin, settings, topics):  # noqa: ASYNC110 - only the brokers know
            await asyncio.sleep(VISIBLE_POLL_SECONDS)


def _places(settings: Settings, topics: Sequence[str]) -> list[TopicPartition]:
    return [TopicPartition(settings.topic(name), n) for name in topics for n in range(settings.topic_partitions)]


def _credentials(settings: Settings) -> Any:
    """The security settings of our clients as Faust takes them."""
    options = client_options(settings)
    context = options.get("ssl_context")
    if settings.kafka_security_protocol.startswith("SASL"):
        return SASLCredentials(
            mechanism=options["sasl_mechanism"], username=options["sasl_plain_username"],
            password=options["sasl_plain_password"], ssl_context=context,
        )  # fmt: skip
    return SSLCredentials(context) if context is not None else None
