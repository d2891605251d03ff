"""While the database is away a worker waits, says so, loses nothing, and comes back by itself."""

import asyncio
import gc
import weakref
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import KafkaConnectionError, NodeNotReadyError, OffsetOutOfRangeError, RequestTimedOutError
from structlog.testing import capture_logs

from tests.integration.stream.deployment import PARTITIONS, StreamDeployment
from tests.integration.stream.hosted import Hosted, at_work
from tests.integration.stream.proxy import Proxy
from tests.integration.stream.toy import Toy
from tests.until import until
from worker.kafka import log_inspector, names, source
from worker.kafka.sink import Sink
from worker.kafka.topic_ids import topic_ids
from worker.postgres import connecting
from worker.postgres.connecting import connected
from worker.settings import load
from worker.stream import pace, publisher, runner, session, session_health
from worker.stream.ownership import LEASE_SECONDS


async def test_a_database_that_goes_away_costs_time_and_nothing_else(deployment: StreamDeployment):
    proxy = Proxy(deployment.settings.database)
    await proxy.open()
    worker = Hosted(load(deployment.environment | {"DATABASE_URL": proxy.url}))
    await deployment.send_many([(f"order-{n % 10}", b"{}", None) for n in range(100)])
    await deployment.until_seen(50)

    await proxy.cut()

    async def red() -> bool:
        return bool(worker.runner.condition())

    await deployment.until(red, "readiness gone")
    await deployment.send_many([(f"order-{n % 10}", b"{}", None) for n in range(100)])
    assert not any(worker.control.may_send_for(partition) for partition in range(6))
    await proxy.open()
    await deployment.check_orders({f"order-{n}": 20 for n in range(10)})
    assert not worker.runner.condition()
    assert worker.toy.drops >= 1
    await worker.stop()
    await proxy.cut()


async def test_a_session_that_was_lost_is_not_kept_in_memory(deployment: StreamDeployment):
    """Its queues alone are 70 MB where much waits: a database that came and went took a worker's memory all up."""
    worker = await at_work(deployment)
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


async def test_while_kafka_takes_nothing_no_more_is_committed_than_there_is_room_for(
    deployment: StreamDeployment, monkeypatch: pytest.MonkeyPatch
):
    a_cycle, takes = 50, list[bool]()
    monkeypatch.setattr(publisher, "UNACKNOWLEDGED_BYTES_MAX", 1)
    monkeypatch.setattr(pace, "RECORDS_MAX", a_cycle)
    monkeypatch.setattr(runner, "Sink", lambda settings, _: Sink(settings, lambda: bool(takes)))
    worker = Hosted(deployment.settings)
    worker.control.pace.records_max = a_cycle
    await deployment.send_many([(f"order-{n % 10}", b"{}", None) for n in range(1_000)])
    await deployment.until_seen(1)

    async def red() -> bool:
        return bool(worker.runner.condition())

    await deployment.until(red, "Kafka has not taken what was written for long")
    assert await deployment.database.fetchval("SELECT count(*) FROM public.toy_seen") <= a_cycle

    takes.append(True)
    await deployment.check_orders({f"order-{n}": 100 for n in range(10)})
    await worker.stop()


async def test_a_session_that_was_ended_and_is_not_closed_yet_is_dropped_like_any_other(deployment: StreamDeployment):
    proxy = Proxy(deployment.settings.database)
    await proxy.open()
    worker = Hosted(load(deployment.environment | {"DATABASE_URL": proxy.url}))
    await deployment.send("order-1")
    await deployment.until_seen(1)

    async def dropped() -> bool:
        return worker.toy.drops > 0

    proxy.lingers = True
    await deployment.end_sessions()
    await deployment.until(dropped, "the session dropped")
    proxy.lingers = False
    await deployment.send("order-1")

    await deployment.check_orders({"order-1": 2})
    await worker.stop()
    await proxy.cut()


async def test_a_worker_that_is_stopped_while_the_database_is_away_ends_at_once(deployment: StreamDeployment):
    proxy = Proxy(deployment.settings.database)
    await proxy.open()
    worker = Hosted(load(deployment.environment | {"DATABASE_URL": proxy.url}))
    await deployment.send("order-1")
    await deployment.until_seen(1)
    await proxy.cut()

    worker.runner.stop()

    await asyncio.wait_for(worker.running, 5)


async def test_a_database_that_swallows_packets_costs_no_more_than_a_lease(deployment: StreamDeployment):
    """The worker stayed ready and stuck for two statements' time limits, a minute and a half."""
    proxy = Proxy(deployment.settings.database)
    await proxy.open()
    worker = Hosted(load(deployment.environment | {"DATABASE_URL": proxy.url}))
    await deployment.send("order-1")
    await deployment.until_seen(1)

    proxy.swallows = True
    await deployment.send("order-1")

    await until(worker.runner.condition, seconds=LEASE_SECONDS + 3)
    await until(lambda: worker.toy.drops, seconds=3)
    assert not any(worker.control.may_send_for(partition) for partition in range(6))
    proxy.swallows = False
    await proxy.cut()  # what was lost on the way does not come later
    await proxy.open()
    await deployment.check_orders({"order-1": 2})
    await worker.stop()
    await proxy.cut()


async def test_a_worker_whose_lease_is_over_is_not_ready(deployment: StreamDeployment):
    worker = await at_work(deployment)
    await until(lambda: not worker.runner.condition(), seconds=20)

    worker.control.lease_ends = 0.0

    assert worker.runner.condition() == {"problem": runner.LEASE_OVER}
    await worker.stop()


async def test_a_worker_that_is_stopped_while_packets_are_swallowed_ends_with_its_lease(deployment: StreamDeployment):
    proxy = Proxy(deployment.settings.database)
    await proxy.open()
    worker = Hosted(load(deployment.environment | {"DATABASE_URL": proxy.url}))
    await deployment.send("order-1")
    await deployment.until_seen(1)

    proxy.swallows = True
    worker.runner.stop()

    await asyncio.wait_for(worker.running, LEASE_SECONDS + 5)
    await proxy.cut()


async def test_a_library_that_gives_up_what_was_waited_for_does_not_end_the_worker(deployment: StreamDeployment):
    """Its work was over as if somebody had asked for it: exit code 0, and nothing in the log."""

    worker = Hosted(deployment.settings)
    worker.toy.meets = [asyncio.CancelledError()]

    await deployment.send("order-1")

    await deployment.check_orders({"order-1": 1})
    await worker.stop()


async def test_a_broker_that_comes_back_at_another_address_is_written_to_again(deployment: StreamDeployment):
    """A producer that was idle meanwhile knows the old address only: what it was given later stayed in the outbox."""

    worker = Hosted(deployment.settings)
    await deployment.send("order-1")
    await deployment.until_published({"order-1": 1})
    await deployment.until_quiet()
    producing = worker.producer.client
    for connection in list(producing._conns.values()):
        connection.close()
    known = producing.cluster._brokers
    producing.cluster._brokers = {node: broker._replace(port=9) for node, broker in known.items()}
    worker.toy.meets = [asyncio.CancelledError()]

    await deployment.send("order-1")

    await deployment.check_orders({"order-1": 2})
    await worker.stop()


async def test_everything_of_a_session_is_let_go_also_while_kafka_is_to_be_asked_again(deployment: StreamDeployment):
    """aiokafka gives up half way where a fetch of its own waits: the memory and the connections of before stayed."""

    worker = Hosted(deployment.settings)
    worker.toy.meets = [NodeNotReadyError("the broker restarts")]
    await deployment.until_shared(PARTITIONS)
    session, sink = worker.session, worker.sink
    worker.consumer._fetcher._pending_tasks.add(asyncio.create_task(asyncio.Event().wait()))

    with capture_logs() as logged:
        await deployment.send("order-1")
        await deployment.check_orders({"order-1": 1})

    told = [one["problem"] for one in logged if one["event"].startswith("the session ended")]
    assert told == ["Kafka is not ready: a broker that we need cannot be reached"]
    assert worker.toy.drops == 1
    assert session._transactions.connection.is_closed()
    assert worker.sink is not sink
    await worker.stop()


async def test_a_broker_that_does_not_answer_for_a_moment_costs_no_session(
    deployment: StreamDeployment, monkeypatch: pytest.MonkeyPatch
):
    """Whichever broker was asked for the topics' ids just as it restarted: all that was in flight became unknown."""
    monkeypatch.setattr(source, "TOPIC_IDS_SECONDS", 0.0)
    answers: list[Exception] = [NodeNotReadyError(), RequestTimedOutError(), KafkaConnectionError(), TimeoutError()]
    worker = await at_work(deployment)

    async def restarting(*asked: object) -> object:
        if answers:
            raise answers.pop()
        return await topic_ids(*asked)

    monkeypatch.setattr(log_inspector, "topic_ids", restarting)
    await deployment.send("order-1")

    await deployment.check_orders({"order-1": 2})
    await until(lambda: not answers, seconds=20)
    assert worker.toy.drops == 0
    await worker.stop()


async def test_a_broker_that_knows_nothing_of_a_position_and_does_not_lead_it_ends_no_worker(
    deployment: StreamDeployment, monkeypatch: pytest.MonkeyPatch
):
    """One that came back with an empty disk says so, for a moment, of everything that the others have."""
    worker = await at_work(deployment)
    place = TopicPartition(deployment.settings.topic(names.INVOICES), deployment.home("order-1"))

    async def wiped(*_: Any, **__: Any) -> Any:
        raise OffsetOutOfRangeError({place: 1})

    monkeypatch.setattr(worker.consumer, "getmany", wiped)
    await deployment.send("order-1")

    await until(lambda: worker.toy.drops == 1, seconds=20)  # a fetch under way may bring the record first
    await deployment.check_orders({"order-1": 2})
    assert worker.toy.drops == 1
    await worker.stop()


async def test_a_client_that_no_longer_fetches_is_replaced_by_one_that_does(
    deployment: StreamDeployment, monkeypatch: pytest.MonkeyPatch
):
    """Its task that fetches ends where two brokers refuse the same offset, and says so to nobody."""
    monkeypatch.setattr(source, "TOPIC_IDS_SECONDS", 0.1)
    monkeypatch.setattr(source, "FETCHES_SILENT_SECONDS_MAX", 0.5)
    worker = await at_work(deployment)
    worker.consumer._fetcher._fetch_task.cancel()

    await deployment.send("order-1")

    await deployment.check_orders({"order-1": 2})
    assert worker.toy.drops == 1
    await worker.stop()


async def test_what_arrives_is_read_while_no_broker_says_which_topics_they_are(
    deployment: StreamDeployment, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(source, "TOPIC_IDS_SECONDS", 0.0)
    worker = await at_work(deployment)
    asked = asyncio.Event()

    async def silent(*_: object) -> object:
        asked.set()
        await asyncio.Event().wait()
        return {}

    monkeypatch.setattr(log_inspector, "topic_ids", silent)
    await asked.wait()
    await deployment.send("order-1")

    await deployment.check_orders({"order-1": 2})
    await worker.stop()


async def test_a_broken_invariant_of_the_feature_ends_the_worker(deployment: StreamDeployment):
    class Broken(Toy):
        async def handle(self, _: object) -> None:
            raise AssertionError("what cannot be")

    worker = Hosted(deployment.settings, Broken)

    await asyncio.wait([worker.running], timeout=30)

    assert str(worker.running.exception()) == "what cannot be"


async def test_a_failed_background_task_of_the_feature_ends_the_worker(deployment: StreamDeployment):
    worker = await at_work(deployment)

    worker.control.fail(RuntimeError("the sender died"))

    await asyncio.wait([worker.running], timeout=30)
    assert str(worker.running.exception()) == "the sender died"


async def test_a_worker_whose_work_never_ends_leaves_when_its_time_to_drain_is_over(deployment: StreamDeployment):
    class Endless(Toy):
        async def release(self, partitions: frozenset[int]) -> None:
            await super().release(partitions)
            await asyncio.Event().wait()

    worker = Hosted(load(deployment.environment | {"DRAIN_SECONDS": "0.2"}), Endless)
    await deployment.send("order-1")
    await deployment.until_seen(1)

    worker.runner.stop()

    await asyncio.wait_for(worker.running, 10)
    assert worker.toy.released == [frozenset(range(6))]


async def test_whoever_holds_a_lock_that_a_worker_needs_is_named_until_it_is_free(
    deployment: StreamDeployment, monkeypatch: pytest.MonkeyPatch
):
    """An open transaction of theirs: the same line came nine times in 45 seconds, and readiness stayed."""
    monkeypatch.setitem(connecting._SERVER_SETTINGS, "lock_timeout", "100ms")
    monkeypatch.setattr(session_health, "HELD_UP_SECONDS", 0.1)
    worker = await at_work(deployment)

    async def red() -> bool:
        return bool(worker.runner.condition())

    async def green() -> bool:
        return not worker.runner.condition()

    async with connected(deployment.settings.database, name="psql of ana") as ana:
        holds = f"process {ana.get_server_pid()} (psql of ana, user "
        with capture_logs() as logged:
            async with ana.transaction():
                await ana.execute("LOCK TABLE ledger.outbox")
                await deployment.send("order-1")
                await deployment.until(red, "readiness gone")
                said = worker.runner.condition()["problem"]
            await deployment.until(green, "readiness back")
    await deployment.check_orders({"order-1": 2})
    await worker.stop()

    assert holds in said
    assert said.endswith(" holds locks on outbox")
    assert [(one["event"], one.get("problem")) for one in logged if one["event"] != "partitions handed over"] == [
        ("the transaction is repeated", said), ("alert", said), ("alert over", None),
    ]  # fmt: skip


async def test_a_row_that_somebody_holds_is_told_with_its_table(
    deployment: StreamDeployment, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(connecting._SERVER_SETTINGS, "lock_timeout", "100ms")
    monkeypatch.setattr(session_health, "HELD_UP_SECONDS", 0.1)
    worker = await at_work(deployment)

    async def red() -> bool:
        return bool(worker.runner.condition())

    async with deployment.database.acquire() as ana, ana.transaction():
        await ana.execute("SELECT FROM ledger.positions FOR UPDATE")
        await deployment.send("order-1")
        await deployment.until(red, "readiness gone")
        said = worker.runner.condition()["problem"]
    await deployment.check_orders({"order-1": 2})
    await worker.stop()

    assert "lock timeout, of a row of positions; process " in said


async def test_one_partition_that_no_broker_leads_is_named(
    deployment: StreamDeployment, monkeypatch: pytest.MonkeyPatch
):
    """The others are read on, so that nobody said why this one's invoices wait."""
    monkeypatch.setattr(session, "LEADERLESS_SECONDS_MAX", 0.0)
    worker = await at_work(deployment)
    lost = TopicPartition(deployment.settings.topic(names.INVOICES), 1)
    leader_of = ClusterMetadata.leader_for_partition

    def named() -> bool:
        said = f"Kafka has no leader for {lost.topic} partition 1: records written there wait"
        return worker.runner.condition() == {"problem": said}

    with monkeypatch.context() as trouble:
        trouble.setattr(
            ClusterMetadata, "leader_for_partition", lambda self, one: -1 if one == lost else leader_of(self, one)
        )
        await until(named, 10)

    await deployment.send("order-1")
    await deployment.check_orders({"order-1": 2})
    await until(lambda: not worker.runner.condition(), 10)
    await worker.stop()
