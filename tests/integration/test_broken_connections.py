"""Connections to Kafka that break under their client, and clients that are left while Kafka takes nothing."""

import asyncio
import os
import socket
import time
from collections.abc import Mapping
from typing import Any

import pytest
import uvloop
from aiokafka.admin import NewTopic
from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

from tests.until import until
from worker.kafka import connecting, names, topics
from worker.kafka.connecting import admin_client
from worker.kafka.packing import pack
from worker.kafka.records import Outgoing
from worker.kafka.sink import Ack, Sink
from worker.settings import load
from worker.stack import StackEnv

SECONDS_MAX = 20


def test_a_connection_that_broke_a_moment_ago_is_kafkas_trouble_and_nothing_that_ends_the_worker(stack: StackEnv):
    host, port = stack.bootstrap_servers.split(":")

    async def write_until_it_is_told() -> str:
        connection = await create_conn(host, int(port))
        with socket.socket(fileno=os.dup(connection._writer.get_extra_info("socket").fileno())) as same:
            same.shutdown(socket.SHUT_WR)
        try:
            while True:
                connection.send(MetadataRequest([]), expect_response=False).close()
                await asyncio.sleep(0)
        except KafkaConnectionError as problem:
            return str(problem)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as the program has it
        assert "broken" in runner.run(write_until_it_is_told())


async def test_what_kafka_no_longer_takes_is_left_to_the_outbox_without_a_word(stack: StackEnv, topic_prefix: str):
    settings = load(stack.as_settings() | {"TOPIC_PREFIX": topic_prefix})
    record = Outgoing(names.ORDERS, 0, b"order", b"{}", [])
    told = list[Mapping[str, Any]]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    sink = Sink(settings)
    await sink.start()
    assert sink._producer is not None
    async with admin_client(settings) as admin:
        await topics.create_topics(admin, [NewTopic(settings.topic(names.ORDERS), 1, 1)])
        await sink.publish([record])
        await admin.delete_topics([settings.topic(names.ORDERS)])

    acks, waiting = list[Ack](), sink._producer._message_accumulator

    async def one_waits_for_another_attempt() -> bool:
        if all(ack.done() for ack in acks):  # the broker may take some before the topic is gone
            acks.extend(ack for _, _, ack in await sink.hand_over(pack([record])))
        return any(batch.retry_count for queue in waiting._batches.values() for batch in queue)

    await until(one_waits_for_another_attempt, SECONDS_MAX)
    await sink.stop()

    with pytest.raises(KafkaConnectionError):
        await acks[-1]
    assert not told


async def test_a_sink_that_may_not_write_leaves_no_connection_open_when_it_is_stopped(
    stack: StackEnv, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
):
    """A retry that comes while the connections are closed must not open another one."""
    monkeypatch.setattr(connecting, "RETRY_BACKOFF_MS", 1)
    settings = load(stack.as_settings() | {"TOPIC_PREFIX": topic_prefix})
    record, allowed = Outgoing(names.ORDERS, 0, b"order", b"{}", []), [True]
    async with admin_client(settings) as admin:
        await topics.create_topics(admin, [NewTopic(settings.topic(names.ORDERS), 1, 1)])
    sink = Sink(settings, lambda: bool(allowed))
    await sink.start()
    await sink.publish([record])
    assert sink._producer is not None
    client = sink._producer.client

    allowed.clear()
    [(_, _, ack)] = await sink.hand_over(pack([record]))
    await sink.stop()

    with pytest.raises(KafkaConnectionError):
        await ack
    assert not any(connection.connected() for connection in client._conns.values())


async def test_a_partition_without_a_leader_is_asked_about_ten_times_a_second_and_not_without_a_pause(
    stack: StackEnv, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
):
    """Two brokers that were left had thousands of questions a second to answer, from each worker and each view."""
    settings = load(stack.as_settings() | {"TOPIC_PREFIX": topic_prefix})
    record = Outgoing(names.ORDERS, 0, b"order", b"{}", [])
    asked = list[float]()
    send = AIOKafkaConnection.send

    def noted(connection: AIOKafkaConnection, request: Any, *options: Any, **named: Any) -> Any:
        if isinstance(request, MetadataRequest):
            asked.append(time.monotonic())
        return send(connection, request, *options, **named)

    async with admin_client(settings) as admin:
        await topics.create_topics(admin, [NewTopic(settings.topic(names.ORDERS), 1, 1)])
    async with Sink(settings) as sink:
        await sink.publish([record])
        with monkeypatch.context() as trouble:
            trouble.setattr(sink._producer._metadata, "leader_for_partition", lambda _: -1)
            trouble.setattr(AIOKafkaConnection, "send", noted)
            [(_, _, ack)] = await sink.hand_over(pack([record]))
            await until(lambda: len(asked) > 5, SECONDS_MAX)
        await ack

    assert asked[5] - asked[1] > 0.3
