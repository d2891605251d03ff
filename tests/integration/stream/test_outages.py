"""Outages of the database and of Kafka: a worker waits, is not ready, loses nothing and resumes by itself."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import KafkaConnectionError, NodeNotReadyError, OffsetOutOfRangeError, RequestTimedOutError
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from tests.integration.stream.deployment import PATIENCE_SECONDS, StreamDeployment
from tests.integration.stream.in_process_worker import InProcessWorker, start_and_consume
from tests.integration.stream.proxy import Proxy
from tests.integration.stream.toy import Toy
from tests.until import until
from worker.kafka import log_inspector, names, source
from worker.kafka.sink import Sink
from worker.kafka.topic_ids import topic_ids
from worker.postgres import connecting
from worker.postgres.connecting import connected
from worker.settings import load
from worker.stream import availability, pace, publisher, runner, session_health, table_metrics
from worker.stream.ownership import LEASE_SECONDS


@pytest.fixture
async def proxy(deployment: StreamDeployment) -> AsyncIterator[Proxy]:
    """A proxy in front of the deployment's database."""
    proxy = Proxy(deployment.settings.database)
    await proxy.open()
    yield proxy
    await proxy.cut()


async def test_a_worker_waits_out_an_unreachable_database(deployment: StreamDeployment, proxy: Proxy):
    worker = InProcessWorker(load(deployment.environment | {"DATABASE_URL": proxy.url}))
    await deployment.send_many([(f"order-{n % 10}", b"{}", None) for n in range(100)])
    await deployment.until_seen(50)

    await proxy.cut()

    await deployment.until(worker.is_not_ready, "readiness gone")
    await deployment.send_many([(f"order-{n % 10}", b"{}", None) for n in range(100)])
    assert not any(worker.control.may_send_for(partition) for partition in range(6))
    await proxy.open()
    await deployment.check_orders({f"order-{n}": 20 for n in range(10)})
    assert not worker.runner.condition()
    assert worker.toy.drops >= 1
    await worker.stop()


async def test_a_lost_session_is_freed_from_memory(deployment: StreamDeployment):
    """Its queues alone can hold 70 MB: a database that came and went used up a worker's memory."""
    worker = await start_and_consume(deployment)
    session = weakref.ref(worker.session)
    gc.disable()
    try:
        await deployment.end_sessions()
        await deployment.send("order-1")
        await deployment.until_seen(2)

        assert session() is None
    finally:
        gc.enable()
    await worker.stop()


async def test_commits_stop_at_the_buffer_limit_while_kafka_accepts_nothing(
    deployment: StreamDeployment, monkeypatch: pytest.MonkeyPatch
):
    cycle_records, accepts = 50, list[bool]()
    monkeypatch.setattr(publisher, "UNACKNOWLEDGED_BYTES_MAX", 1)
    monkeypatch.setattr(pace, "RECORDS_MAX", cycle_records)
    monkeypatch.setattr(runner, "Sink", lambda settings, _, **more: Sink(settings, lambda: bool(accepts), **more))
    worker = InProcessWorker(deployment.settings)
    worker.control.pace.records_max = cycle_records
    await deployment.send_many([(f"order-{n % 10}", b"{}", None) for n in range(1_000)])
    await deployment.until_seen(1)

    await deployment.until(worker.is_not_ready, "Kafka has long accepted nothing")
    assert await deployment.database.fetchval("SELECT count(*) FROM public.toy_seen") <= cycle_records

    accepts.append(True)
    await deployment.check_orders({f"order-{n}": 100 for n in range(10)})
    await worker.stop()


async def test_a_session_that_the_server_ended_is_dropped_while_its_connection_stays_open(
    deployment: StreamDeployment, proxy: Proxy
):
    worker = await start_and_consume(deployment, DATABASE_URL=proxy.url)

    async def dropped() -> bool:
        return worker.toy.drops > 0

    proxy.lingers = True
    await deployment.end_sessions()
    await deployment.until(dropped, "the session dropped")
    proxy.lingers = False
    await deployment.send("order-1")

    await deployment.check_orders({"order-1": 2})
    await worker.stop()


async def test_a_worker_stops_at_once_while_the_database_is_unreachable(deployment: StreamDeployment, proxy: Proxy):
    worker = await start_and_consume(deployment, DATABASE_URL=proxy.url)
    await proxy.cut()

    worker.runner.stop()

    await asyncio.wait_for(worker.running, 5)


async def test_a_worker_drops_a_database_that_swallows_packets_within_one_lease(
    deployment: StreamDeployment, proxy: Proxy
):
    """The worker hung and stayed ready for two statement timeouts, a minute and a half."""
    worker = await start_and_consume(deployment, DATABASE_URL=proxy.url)

    proxy.swallows = True
    await deployment.send("order-1")

    await until(worker.runner.condition, seconds=LEASE_SECONDS + 3)
    await until(lambda: worker.toy.drops, seconds=3)
    assert not any(worker.control.may_send_for(partition) for partition in range(6))
    proxy.swallows = False
    await proxy.cut()  # the dropped data does not arrive later
    await proxy.open()
    await deployment.check_orders({"order-1": 2})
    await worker.stop()


async def test_metrics_are_shown_as_known_before_while_the_database_swallows_packets(
    deployment: StreamDeployment, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
):
    """They waited for up to 55 s, longer than a scraper does: nothing was seen of a worker in trouble."""
    monkeypatch.setattr(table_metrics, "PAUSE_SECONDS", 0.0)
    worker = await start_and_consume(deployment, DATABASE_URL=proxy.url)
    await deployment.send("order-1", b"refuse")

    async def measured() -> float | None:
        async with asyncio.timeout(2 * table_metrics.WAIT_SECONDS_MAX):
            await worker.runner.measure()
        labels = {"topic": names.INVOICES, "reason": "rejected"}
        return REGISTRY.get_sample_value("settlement_dead_letters_open", labels)

    await deployment.until(measured, "the dead letter counted")
    proxy.swallows = True

    assert await measured() == 1

    proxy.swallows = False
    await proxy.cut()
    await proxy.open()
    await deployment.database.execute("DELETE FROM ledger.dead_letters")

    async def none_is_open() -> bool:
        return await measured() is None

    await deployment.until(none_is_open, "the gauge measured again")
    await worker.stop()


async def test_a_worker_with_an_expired_lease_is_not_ready(deployment: StreamDeployment):
    worker = await start_and_consume(deployment)
    await until(lambda: not worker.runner.condition(), seconds=20)

    worker.control.lease_ends = 0.0

    assert worker.runner.condition() == {"problem": runner.LEASE_OVER}
    await worker.stop()


async def test_a_worker_stops_within_its_lease_while_packets_are_swallowed(deployment: StreamDeployment, proxy: Proxy):
    worker = await start_and_consume(deployment, DATABASE_URL=proxy.url)

    proxy.swallows = True
    worker.runner.stop()

    await asyncio.wait_for(worker.running, LEASE_SECONDS + 5)


async def test_a_cancellation_raised_by_a_library_does_not_end_the_worker(deployment: StreamDeployment):
    """The worker stopped as if it had been told to: exit code 0, and nothing in the log."""

    worker = InProcessWorker(deployment.settings)
    worker.toy.errors = [asyncio.CancelledError()]

    await deployment.send("order-1")

    await deployment.check_orders({"order-1": 1})
    await worker.stop()


async def test_a_worker_publishes_to_a_broker_that_returned_at_another_address(deployment: StreamDeployment):
    """A producer that was idle meanwhile knows only the old address: later records stayed in the outbox."""

    worker = InProcessWorker(deployment.settings)
    await deployment.send("order-1")
    await deployment.until_published({"order-1": 1})
    await deployment.until_quiet()
    client = worker.producer.client
    for connection in list(client._conns.values()):
        connection.close()
    brokers = client.cluster._brokers
    client.cluster._brokers = {node: broker._replace(port=9) for node, broker in brokers.items()}
    worker.toy.errors = [asyncio.CancelledError()]

    await deployment.send("order-1")

    await deployment.check_orders({"order-1": 2})
    await worker.stop()


async def test_a_session_that_ends_during_a_pending_fetch_releases_everything(deployment: StreamDeployment):
    """aiokafka's `stop` gives up when a fetch is pending: the memory and connections of the old session stayed."""

    worker = InProcessWorker(deployment.settings)
    worker.toy.errors = [NodeNotReadyError("the broker restarts")]
    await deployment.until(worker.is_ready, "a worker that reads its partitions")
    session, sink = worker.session, worker.sink
    worker.consumer._fetcher._pending_tasks.add(asyncio.create_task(asyncio.Event().wait()))

    with capture_logs() as logged:
        await deployment.send("order-1")
        await deployment.check_orders({"order-1": 1})

    problems = [line["problem"] for line in logged if line["event"].startswith("the session ended")]
    assert problems == ["Kafka is not ready: a broker that we need cannot be reached"]
    assert worker.toy.drops == 1
    assert session._transactions.connection.is_closed()
    assert worker.sink is not sink
    await worker.stop()


async def test_a_broker_that_briefly_does_not_answer_ends_no_session(
    deployment: StreamDeployment, monkeypatch: pytest.MonkeyPatch
):
    """A broker restarted while it was asked for topic ids: all commands in flight became unknown."""
    monkeypatch.setattr(source, "TOPIC_IDS_SECONDS", 0.0)
    errors: list[Exception] = [NodeNotReadyError(), RequestTimedOutError(), KafkaConnectionError(), TimeoutError()]
    worker = await start_and_consume(deployment)

    async def restarting(*arguments: object) -> object:
        if errors:
            raise errors.pop()
        return await topic_ids(*arguments)

    monkeypatch.setattr(log_inspector, "topic_ids", restarting)
    await deployment.send("order-1")

    await deployment.check_orders({"order-1": 2})
    await until(lambda: not errors, seconds=20)
    assert worker.toy.drops == 0
    await worker.stop()


async def test_offset_out_of_range_from_a_broker_that_does_not_lead_ends_no_worker(
    deployment: StreamDeployment, monkeypatch: pytest.MonkeyPatch
):
    """A broker that returned with an empty disk answers so, briefly, for every position that the others have."""
    worker = await start_and_consume(deployment)
    place = TopicPartition(deployment.settings.topic(names.INVOICES), deployment.home("order-1"))

    async def wiped(*_: Any, **__: Any) -> Any:
        raise OffsetOutOfRangeError({place: 1})

    monkeypatch.setattr(worker.consumer, "getmany", wiped)
    await deployment.send("order-1")

    await until(lambda: worker.toy.drops == 1, seconds=20)  # a fetch in flight may return the record first
    await deployment.check_orders({"order-1": 2})
    assert worker.toy.drops == 1
    await worker.stop()


async def test_a_consumer_that_stopped_fetching_is_replaced(
    deployment: StreamDeployment, monkeypatch: pytest.MonkeyPatch
):
    """aiokafka's fetch task ends without an error when two brokers refuse the same offset."""
    worker = await start_and_consume(deployment)
    worker.consumer._fetcher._fetch_task.cancel()

    with monkeypatch.context() as impatient:
        impatient.setattr(source, "TOPIC_IDS_SECONDS", 0.1)
        impatient.setattr(source, "FETCHES_SILENT_SECONDS_MAX", 0.5)
        await until(lambda: worker.toy.drops, PATIENCE_SECONDS)  # a fetch in flight would return a record sent before
    await deployment.send("order-1")

    await deployment.check_orders({"order-1": 2})
    assert worker.toy.drops == 1
    await worker.stop()


async def test_records_are_read_while_no_broker_answers_for_topic_ids(
    deployment: StreamDeployment, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(source, "TOPIC_IDS_SECONDS", 0.0)
    worker = await start_and_consume(deployment)
    requested = asyncio.Event()

    async def silent(*_: object) -> object:
        requested.set()
        await asyncio.Event().wait()
        return {}

    monkeypatch.setattr(log_inspector, "topic_ids", silent)
    await requested.wait()
    await deployment.send("order-1")

    await deployment.check_orders({"order-1": 2})
    await worker.stop()


async def test_a_broken_invariant_of_the_feature_ends_the_worker(deployment: StreamDeployment):
    class BrokenInvariant(Toy):
        async def handle(self, _: object) -> None:
            raise AssertionError("invariant")

    worker = InProcessWorker(deployment.settings, BrokenInvariant)

    await asyncio.wait([worker.running], timeout=30)

    assert str(worker.running.exception()) == "invariant"


async def test_a_failed_background_task_of_the_feature_ends_the_worker(deployment: StreamDeployment):
    worker = await start_and_consume(deployment)

    worker.control.fail(RuntimeError("the sender died"))

    await asyncio.wait([worker.running], timeout=30)
    assert str(worker.running.exception()) == "the sender died"


async def test_a_worker_that_can_no_longer_watch_its_topics_settings_ends(
    deployment: StreamDeployment, monkeypatch: pytest.MonkeyPatch
):
    """It went on with the settings of the start, and knew no more which partitions can be written."""
    worker = await start_and_consume(deployment)

    async def broken(*_: object) -> object:
        raise AssertionError("invariant")

    monkeypatch.setattr(log_inspector, "topic_settings", broken)

    await asyncio.wait([worker.running], timeout=PATIENCE_SECONDS)
    assert str(worker.running.exception()) == "invariant"


async def test_a_worker_whose_drain_never_ends_exits_at_the_drain_deadline(deployment: StreamDeployment):
    class EndlessDrain(Toy):
        async def release(self, partitions: frozenset[int]) -> None:
            await super().release(partitions)
            await asyncio.Event().wait()

    worker = await start_and_consume(deployment, EndlessDrain, DRAIN_SECONDS="0.2")

    worker.runner.stop()

    await asyncio.wait_for(worker.running, 10)
    assert worker.toy.released == [frozenset(range(6))]


async def test_the_session_that_holds_a_needed_lock_is_reported_until_the_lock_is_free(
    deployment: StreamDeployment, monkeypatch: pytest.MonkeyPatch
):
    """While an operator held a transaction open, the same line was logged nine times in 45 seconds, and the worker
    stayed ready."""
    monkeypatch.setitem(connecting._SERVER_SETTINGS, "lock_timeout", "100ms")
    monkeypatch.setattr(session_health, "HELD_UP_SECONDS", 0.1)
    worker = await start_and_consume(deployment)

    async with connected(deployment.settings.database, name="psql of ana") as operator:
        holder = f"process {operator.get_server_pid()} (psql of ana, user "
        with capture_logs() as logged:
            async with operator.transaction():
                await operator.execute("LOCK TABLE ledger.outbox")
                await deployment.send("order-1")
                await deployment.until(worker.is_not_ready, "readiness gone")
                problem = worker.runner.condition()["problem"]
            await deployment.until(worker.is_ready, "readiness back")
    await deployment.check_orders({"order-1": 2})
    await worker.stop()

    assert holder in problem
    assert problem.endswith(" holds locks on outbox")
    assert [(line["event"], line.get("problem")) for line in logged if line["event"] != "partitions handed over"] == [
        ("the transaction is repeated", problem), ("alert", problem), ("alert over", None),
    ]  # fmt: skip


async def test_a_locked_row_is_reported_with_its_table(deployment: StreamDeployment, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(connecting._SERVER_SETTINGS, "lock_timeout", "100ms")
    monkeypatch.setattr(session_health, "HELD_UP_SECONDS", 0.1)
    worker = await start_and_consume(deployment)

    async with deployment.database.acquire() as operator, operator.transaction():
        await operator.execute("SELECT FROM ledger.positions FOR UPDATE")
        await deployment.send("order-1")
        await deployment.until(worker.is_not_ready, "readiness gone")
        problem = worker.runner.condition()["problem"]
    await deployment.check_orders({"order-1": 2})
    await worker.stop()

    assert "lock timeout, of a row of positions; process " in problem


async def test_a_partition_without_a_leader_is_reported(deployment: StreamDeployment, monkeypatch: pytest.MonkeyPatch):
    """The other partitions are still read, so nothing showed why the invoices of this one wait."""
    monkeypatch.setattr(availability, "UNAVAILABLE_SECONDS_MAX", 0.0)
    worker = await start_and_consume(deployment)
    lost = TopicPartition(deployment.settings.topic(names.INVOICES), 1)
    leader_of = ClusterMetadata.leader_for_partition

    def is_reported() -> bool:
        problem = worker.runner.condition().get("problem", "")
        return problem.endswith(f"for {lost.topic} partition 1: all records of partition 1 wait")

    with monkeypatch.context() as leaderless:
        leaderless.setattr(
            ClusterMetadata, "leader_for_partition", lambda self, place: -1 if place == lost else leader_of(self, place)
        )
        await until(is_reported, 10)

    await deployment.send("order-1")
    await deployment.check_orders({"order-1": 2})
    await until(lambda: not worker.runner.condition(), 10)
    await worker.stop()
