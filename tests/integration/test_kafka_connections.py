"""Broken connections to Kafka, and clients that stop while Kafka accepts nothing."""

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
from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError, NodeNotReadyError
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.produce import ProduceRequest

from tests.until import until
from worker.kafka import connecting, names, patches, topics
from worker.kafka.connecting import admin_client
from worker.kafka.packing import pack
from worker.kafka.records import Outgoing
from worker.kafka.sink import Ack, Sink
from worker.settings import load
from worker.stack import StackEnv

SECONDS_MAX = 20


def test_writing_to_a_just_broken_connection_raises_a_kafka_error(stack: StackEnv):
    host, port = stack.bootstrap_servers.split(":")

    async def write_until_error() -> str:
        connection = await create_conn(host, int(port))
        with socket.socket(fileno=os.dup(connection._writer.get_extra_info("socket").fileno())) as same:
            same.shutdown(socket.SHUT_WR)
        try:
            while True:
                connection.send(MetadataRequest([]), expect_response=False).close()
                await asyncio.sleep(0)
        except KafkaConnectionError as problem:
            return str(problem)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as in the program
        assert "broken" in runner.run(write_until_error())


async def test_stopping_a_sink_fails_its_pending_records_without_an_unhandled_error(stack: StackEnv, topic_prefix: str):
    settings = load(stack.as_settings() | {"TOPIC_PREFIX": topic_prefix})
    record = Outgoing(names.ORDERS, 0, b"order", b"{}", [])
    unhandled = list[Mapping[str, Any]]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    sink = Sink(settings)
    await sink.start()
    assert sink._producer is not None
    async with admin_client(settings) as admin:
        await topics.create_topics(admin, [NewTopic(settings.topic(names.ORDERS), 1, 1)])
        await sink.publish([record])
        await admin.delete_topics([settings.topic(names.ORDERS)])

    acks, waiting = list[Ack](), sink._producer._message_accumulator

    async def a_record_waits_for_a_retry() -> bool:
        if all(ack.done() for ack in acks):  # the broker may accept some before the topic is deleted
            acks.extend(ack for _, _, ack in await sink.queue(pack([record])))
        return any(batch.retry_count for queue in waiting._batches.values() for batch in queue)

    await until(a_record_waits_for_a_retry, SECONDS_MAX)
    await sink.stop()

    with pytest.raises(KafkaConnectionError):
        await acks[-1]
    assert not unhandled


async def test_a_sink_stopped_without_a_lease_leaves_no_connection_open(
    stack: StackEnv, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
):
    """A retry while the connections are being closed must not open another one."""
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
    [(_, _, ack)] = await sink.queue(pack([record]))
    await sink.stop()

    with pytest.raises(KafkaConnectionError):
        await ack
    assert not any(connection.connected() for connection in client._conns.values())


@pytest.mark.parametrize("given_up", [False, True])
async def test_a_record_still_queued_when_its_sink_stops_leaves_nothing_for_the_event_loop_to_report(
    stack: StackEnv, topic_prefix: str, given_up: bool
):
    settings = load(stack.as_settings() | {"TOPIC_PREFIX": topic_prefix})
    async with admin_client(settings) as admin:
        await topics.create_topics(admin, [NewTopic(settings.topic(names.ORDERS), 1, 1)])

    async with Sink(settings, may_write=lambda: False) as sink:
        [(_, _, ack)] = await sink.queue(pack([Outgoing(names.ORDERS, 0, b"order", b"{}", [])]))
        assert sink._producer is not None
        waiting = sink._producer._message_accumulator
        [batch] = waiting._pending_batches.union(*waiting._batches.values())
        if given_up:
            ack.cancel()  # as by a task that awaited it
    ended = (ack, batch.future, batch._drain_waiter)
    await until(lambda: all(future.done() for future in ended), SECONDS_MAX)
    await until(lambda: not any(future._log_traceback for future in ended), SECONDS_MAX, "nothing is reported")

    assert isinstance(batch.future.exception(), KafkaConnectionError)


async def test_a_consumer_that_is_stopped_at_once_leaves_no_task_behind(stack: StackEnv):
    async with connecting.consumer(load(stack.as_settings())) as reading:
        pass

    assert reading._fetcher is not None
    assert reading._fetcher._fetch_task.done()


async def test_publishing_ends_with_an_error_if_kafka_acknowledges_nothing(
    stack: StackEnv, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("worker.kafka.sink.PUBLISH_SECONDS_MAX", 0.1)
    settings = load(stack.as_settings() | {"TOPIC_PREFIX": topic_prefix})
    async with admin_client(settings) as admin:
        await topics.create_topics(admin, [NewTopic(settings.topic(names.ORDERS), 1, 1)])

    async with Sink(settings, may_write=lambda: False) as refused:
        with pytest.raises(KafkaTimeoutError):
            await refused.publish([Outgoing(names.ORDERS, 0, b"order", b"{}", [])])


async def test_a_sink_stopped_while_it_connects_to_a_frozen_broker_writes_nothing_more(
    stack: StackEnv, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
):
    """The session after it publishes from the outbox: a late copy would come behind newer states of its order."""
    settings = load(stack.as_settings() | {"TOPIC_PREFIX": topic_prefix})
    record = Outgoing(names.ORDERS, 0, b"order", b"{}", [])
    async with admin_client(settings) as admin:
        await topics.create_topics(admin, [NewTopic(settings.topic(names.ORDERS), 1, 1)])
    sink = Sink(settings)
    await sink.start()
    assert sink._producer is not None
    client, connecting_to, thawed = sink._producer.client, list[int](), asyncio.Event()

    async def connect_to_frozen(node_id: int, **_: Any) -> bool:
        connecting_to.append(node_id)
        await thawed.wait()
        return True

    monkeypatch.setattr(client, "ready", connect_to_frozen)
    [(_, _, ack)] = await sink.queue(pack([record]))
    to_another_broker = asyncio.create_task(client.send(2, ProduceRequest(None, -1, 1000, [])))
    await until(lambda: len(connecting_to) == 2, SECONDS_MAX)
    await sink.stop()
    thawed.set()

    with pytest.raises(KafkaConnectionError):
        await ack
    with pytest.raises(NodeNotReadyError):
        await to_another_broker
    assert not [one for one in asyncio.all_tasks() if "Sender" in repr(one)]


async def test_the_leader_of_a_partition_is_requested_at_most_ten_times_a_second(
    stack: StackEnv, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
):
    """Two remaining brokers got thousands of metadata requests a second from each worker and each view."""
    settings = load(stack.as_settings() | {"TOPIC_PREFIX": topic_prefix})
    record = Outgoing(names.ORDERS, 0, b"order", b"{}", [])
    request_times = list[float]()
    send = AIOKafkaConnection.send

    def timed(connection: AIOKafkaConnection, request: Any, *options: Any, **named: Any) -> Any:
        if isinstance(request, MetadataRequest):
            request_times.append(time.monotonic())
        return send(connection, request, *options, **named)

    async with admin_client(settings) as admin:
        await topics.create_topics(admin, [NewTopic(settings.topic(names.ORDERS), 1, 1)])
    async with Sink(settings) as sink:
        await sink.publish([record])
        with monkeypatch.context() as leaderless:
            leaderless.setattr(sink._producer._metadata, "leader_for_partition", lambda _: -1)
            leaderless.setattr(AIOKafkaConnection, "send", timed)
            [(_, _, ack)] = await sink.queue(pack([record]))
            await until(lambda: len(request_times) > 5, SECONDS_MAX)
        await ack

    assert request_times[5] - request_times[1] > 0.3


async def test_a_silent_broker_does_not_keep_the_others_from_naming_the_leaders(
    stack: StackEnv, monkeypatch: pytest.MonkeyPatch
):
    """All writes waited for 15 s, and as long again, when a broker's machine was gone."""
    monkeypatch.setattr(patches, "METADATA_SECONDS_MAX", 0.1)
    asked = list[int]()

    async with admin_client(load(stack.as_settings())) as admin:
        client = admin._client
        connect = client._get_conn

        async def silent_at_first(node_id: int, **options: Any) -> Any:
            asked.append(node_id)
            if len(asked) == 1:
                await asyncio.Event().wait()
            return await connect(node_id, **options)

        monkeypatch.setattr(client, "_get_conn", silent_at_first)
        assert await asyncio.wait_for(client.force_metadata_update(), SECONDS_MAX)
