"""Partition ownership: fair shares, orderly handover, takeover from a dead worker, and leases."""

import asyncio
import random
import signal
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete
from aiokafka.errors import KafkaConnectionError

from tests.integration.stream.deployment import PARTITIONS, StreamDeployment
from tests.integration.stream.in_process_worker import InProcessWorker
from tests.integration.stream.toy import WAIT_LOCK
from tests.until import until
from worker.kafka import names
from worker.kafka.connecting import admin_client
from worker.kafka.packing import pack
from worker.kafka.records import Outgoing
from worker.kafka.sink import Sink
from worker.stream import outbox
from worker.stream.clock import lease_time
from worker.stream.control import Control
from worker.stream.ownership import LEASE_SECONDS, Ownership
from worker.stream.session import Session


async def test_two_workers_share_the_partitions_and_a_stopping_one_hands_over(deployment: StreamDeployment):
    deployment.start("a")
    await deployment.until_shared(PARTITIONS)
    deployment.start("b")
    await deployment.until_shared(PARTITIONS // 2, PARTITIONS // 2)

    await deployment.send_many([(f"order-{n % 20}", b"{}", None) for n in range(200)])
    assert await deployment.stop("b") == 0
    await deployment.until_shared(PARTITIONS)
    await deployment.send_many([(f"order-{n % 20}", b"{}", None) for n in range(200)])

    await deployment.check_orders({f"order-{n}": 20 for n in range(20)})
    assert await deployment.stop("a") == 0
    assert await deployment.database.fetchval("SELECT count(*) FROM ledger.members") == 0


async def test_a_killed_worker_is_replaced_at_once(deployment: StreamDeployment):
    deployment.start("a")
    await deployment.until_shared(PARTITIONS)
    deployment.start("b")
    await deployment.until_shared(PARTITIONS // 2, PARTITIONS // 2)
    await deployment.send_many([(f"order-{n % 20}", b"{}", None) for n in range(100)])
    await deployment.until_seen(1)

    deployment.kill("a")
    began = asyncio.get_running_loop().time()

    async def replaced() -> bool:
        return await deployment.database.fetchval(
            "SELECT min(epoch) = 2 AND count(owner) = $1 FROM ledger.partitions", PARTITIONS
        )

    await deployment.until(replaced, "the second worker with all partitions")
    assert asyncio.get_running_loop().time() - began < LEASE_SECONDS
    await deployment.check_orders({f"order-{n}": 5 for n in range(20)})
    lost = await deployment.database.fetchval("SELECT count(former_lease_until) FROM ledger.partitions")
    assert lost == PARTITIONS // 2


async def test_a_worker_frozen_in_its_transaction_writes_nothing_after_waking(deployment: StreamDeployment):
    blocker = await deployment.database.acquire()
    await blocker.execute("SELECT pg_advisory_lock($1)", WAIT_LOCK)
    frozen = deployment.start("frozen")
    await deployment.until_shared(PARTITIONS)
    await deployment.send("order-1", b"wait")

    async def waits() -> bool:
        return await blocker.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")

    await deployment.until(waits, "the worker in the middle of its transaction")
    frozen.send_signal(signal.SIGSTOP)
    former = await deployment.owners()
    deployment.start("heir")

    async def inherited() -> bool:
        owners = await deployment.owners()
        return None not in owners.values() and owners != former

    await deployment.until(inherited, "the heir with all partitions")
    await blocker.execute("SELECT pg_advisory_unlock($1)", WAIT_LOCK)
    await deployment.database.release(blocker)
    await deployment.until_seen(1)
    frozen.send_signal(signal.SIGCONT)

    await deployment.until_shared(PARTITIONS // 2, PARTITIONS // 2)
    await deployment.send_many([(f"order-{n % 20}", b"{}", None) for n in range(20, 220)])

    await deployment.check_orders({f"order-{n}": 10 + (n == 1) for n in range(20)})
    workers = await deployment.database.fetchval("SELECT worker FROM public.toy_seen WHERE value = 'wait'")
    assert workers == "heir"


async def test_a_worker_past_its_lease_does_not_publish_an_old_state_behind_a_newer_one(
    deployment: StreamDeployment,
):
    control = Control(deployment.settings)
    async with Sink(deployment.settings, control.lease_is_valid) as sink:
        control.lease_ends = lease_time() + 3600
        await sink.publish([_state(deployment, 1)])
        ((_, _, held),) = await sink.queue(pack([_state(deployment, 2)]))
        control.lease_ends = 0.0  # the worker was frozen until now
        await deployment.sink.publish([_state(deployment, 3)])  # the worker that took over

    with pytest.raises(KafkaConnectionError):
        await held
    await deployment.sink.publish([_state(deployment, 4)])
    await deployment.until_published({"order-1": 4})
    assert deployment.states() == [("order-1", 1), ("order-1", 3), ("order-1", 4)]


async def test_a_held_back_record_is_sent_once_the_lease_is_confirmed(deployment: StreamDeployment):
    control = Control(deployment.settings)
    async with Sink(deployment.settings, control.lease_is_valid) as sink:
        ((_, _, ack),) = await sink.queue(pack([_state(deployment, 1)]))
        await deployment.sink.publish([_state(deployment, 2)])
        assert not ack.done()
        control.lease_ends = lease_time() + 3600
        await ack

    await deployment.sink.publish([_state(deployment, 3)])
    await deployment.until_published({"order-1": 3})
    assert deployment.states() == [("order-1", 2), ("order-1", 1), ("order-1", 3)]


async def test_a_record_waiting_for_a_connection_is_held_back_when_the_lease_ends(
    deployment: StreamDeployment, monkeypatch: pytest.MonkeyPatch
):
    control = Control(deployment.settings)
    control.lease_ends = lease_time() + 3600
    connecting, reachable = asyncio.Event(), asyncio.Event()
    async with Sink(deployment.settings, control.lease_is_valid) as sink:
        await sink.publish([_state(deployment, 1)])
        assert sink._producer is not None
        client, queued = sink._producer.client, sink._producer._message_accumulator._batches
        connect = client._get_conn

        async def connect_slowly(*node: Any, **options: Any) -> Any:
            connecting.set()
            await reachable.wait()
            return await connect(*node, **options)

        monkeypatch.setattr(client, "_get_conn", connect_slowly)
        ((_, _, ack),) = await sink.queue(pack([_state(deployment, 2)]))
        await connecting.wait()
        control.lease_ends = 0.0
        await deployment.sink.publish([_state(deployment, 3)])  # the worker that took over
        reachable.set()
        await until(lambda: ack.done() or bool(queued), 20)
        assert not ack.done()

        control.lease_ends = lease_time() + 3600
        await ack
        await sink.publish([_state(deployment, 4)])  # with the next sequence number

    await deployment.until_published({"order-1": 4})
    assert deployment.states() == [("order-1", 1), ("order-1", 3), ("order-1", 2), ("order-1", 4)]


async def test_a_takeover_publishes_the_left_over_outbox_first(deployment: StreamDeployment):
    await deployment.take_all_and_stop("a")
    home = deployment.home("order-1")
    for version in (1, 2):
        value = b'{"orderId": "order-1", "version": %d}' % version
        await deployment.database.execute(
            "INSERT INTO ledger.outbox (partition, misplaced, records) VALUES ($1, $2, $3)",
            home, version == 2, outbox.encode(pack([Outgoing(names.ORDERS, home, b"order-1", value, [("x", None)])])),
        )  # fmt: skip
    await deployment.database.execute("INSERT INTO public.toy_orders VALUES ('order-1', 2)")

    await deployment.send("order-1")
    deployment.start("b")

    await deployment.check_orders({"order-1": 3})
    await deployment.until_quiet()
    assert [record.headers for record in deployment.outputs][:2] == [[("x", None)]] * 2


async def test_misplaced_orders_are_published_in_the_order_of_their_commits(deployment: StreamDeployment):
    dice = random.Random(7)
    for name in "abc":
        deployment.start(name)
    await deployment.until_shared(2, 2, 2)

    await deployment.send_many([(f"order-{n % 10}", b"{}", dice.randrange(PARTITIONS)) for n in range(1000)])

    await deployment.check_orders({f"order-{n}": 100 for n in range(10)})
    await deployment.until_quiet()


async def test_misplaced_rows_beyond_one_page_keep_their_order(deployment: StreamDeployment):
    dice = random.Random(8)
    for name in "abc":
        deployment.start(name, TOY_MISPLACED_ROWS_MAX="1")
    await deployment.until_shared(2, 2, 2)

    await deployment.send_many([(f"order-{n % 5}", b"{}", dice.randrange(PARTITIONS)) for n in range(300)])

    await deployment.check_orders({f"order-{n}": 60 for n in range(5)})
    await deployment.until_quiet()


async def test_nothing_is_lost_or_doubled_while_workers_are_killed(deployment: StreamDeployment):
    dice = random.Random(11)
    for name in "abc":
        deployment.start(name)
    sent = 0
    for _ in range(8):
        await deployment.send_many(
            [(f"order-{n % 15}", b"{}", dice.randrange(PARTITIONS)) for n in range(sent, sent + 300)]
        )
        sent += 300
        await deployment.until_seen(sent - 250)
        name = dice.choice("abc")
        deployment.kill(name)
        deployment.start(name)

    await deployment.check_orders({f"order-{n}": sent // 15 for n in range(15)})
    await deployment.until_quiet()


async def test_locked_partitions_of_dead_members_do_not_cost_a_worker_its_lease(
    deployment: StreamDeployment,
):
    """The worker waited for each lock in turn, for longer than a lease."""
    control = Control(deployment.settings)
    ownership = Ownership("ledger", control)
    await deployment.database.execute(
        "INSERT INTO ledger.members (member_id, host, backend_pid, backend_start, lease_until)"
        " SELECT 'dead-' || n, 'there', 1, now(), now() FROM generate_series(0, 5) AS n"
    )
    await deployment.database.execute(
        "INSERT INTO ledger.partitions (partition, owner) SELECT n, 'dead-' || n FROM generate_series(0, 5) AS n"
    )

    async with deployment.database.acquire() as operator, operator.transaction():
        await operator.execute("SELECT FROM ledger.partitions FOR SHARE")
        await ownership.join()
        assert control.lease_is_valid()
    await until(lambda: len(ownership.claimed) == PARTITIONS, seconds=20)

    await ownership.leave()


async def test_a_worker_without_partitions_does_not_busy_wait(
    deployment: StreamDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It polled 800 times a second."""
    deployment.start("a")
    await deployment.until_shared(PARTITIONS)
    monkeypatch.setattr("worker.stream.ownership.fair_share", lambda *_: 0)
    standby = InProcessWorker(deployment.settings)
    await until(lambda: not standby.runner.condition(), seconds=20)
    polls, wait = 0, Session._wait

    async def counted(session: Session) -> None:
        nonlocal polls
        polls += 1
        await wait(session)

    monkeypatch.setattr(Session, "_wait", counted)
    await asyncio.sleep(1.0)
    await standby.stop()

    assert polls < 10


async def test_a_worker_opens_a_new_session_when_the_database_ends_its_session(deployment: StreamDeployment):
    deployment.start("a")
    await deployment.until_shared(PARTITIONS)
    for n in range(5):
        await deployment.send_many([(f"order-{n % 10}", b"{}", None) for n in range(100)])
        await deployment.until_seen(n * 100 + 10)
        await deployment.database.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name LIKE 'settlement-ledger%' AND datname = current_database()"
        )

    await deployment.check_orders({f"order-{n}": 50 for n in range(10)})
    assert "took a dead worker off the list" not in deployment.log("a"), "a lone worker has only itself to bury"


async def test_a_worker_exits_when_the_topic_lacks_its_position(deployment: StreamDeployment):
    await deployment.take_all_and_stop("a")
    moved = "UPDATE ledger.positions SET next_offset = 99 WHERE topic = $1 AND partition = 2"
    assert await deployment.database.execute(moved, names.INVOICES) == "UPDATE 1"

    deployment.start("b")

    assert await deployment.exit_code("b") == 1
    assert f"{deployment.settings.topic(names.INVOICES)} partition 2" in deployment.log("b")
    assert "offset 99" in deployment.log("b")
    assert "offsets 0 to 0" in deployment.log("b")


async def test_a_worker_exits_when_records_were_deleted_before_they_were_read(deployment: StreamDeployment):
    await deployment.take_all_and_stop("a")
    sent = await deployment.send("never-read")
    place = TopicPartition(deployment.settings.topic(names.INVOICES), sent.partition)
    async with admin_client(deployment.settings) as admin:
        await admin.delete_records({place: RecordsToDelete(before_offset=-1)})  # as retention does

    deployment.start("b")

    assert await deployment.exit_code("b") == 1
    assert "the stored position is offset 0, but the topic has offsets 1 to 1" in deployment.log("b")


def _state(deployment: StreamDeployment, version: int) -> Outgoing:
    value = b'{"orderId": "order-1", "version": %d}' % version
    return Outgoing(names.ORDERS, deployment.home("order-1"), b"order-1", value, [])
