"""A worker notices a database that is older than Kafka, and mistakes nothing else for it."""

import orjson
from aiokafka.admin import AIOKafkaAdminClient

from tests.integration.stream.deployment import PARTITIONS, StreamDeployment
from tests.transactions import transactional
from worker.kafka import names, topics
from worker.kafka.connecting import client_options
from worker.kafka.envelope import binary_headers
from worker.kafka.records import Outgoing


async def _published(deployment: StreamDeployment) -> dict[int, int]:
    rows = await deployment.database.fetch("SELECT * FROM ledger.published WHERE topic = $1", names.ORDERS)
    return {row["partition"]: row["next_offset"] for row in rows}


async def _consume_and_stop(deployment: StreamDeployment, records: int = 30) -> None:
    deployment.start("a")
    await deployment.send_many([("order-1", b"{}", None)] * records)
    await deployment.until_published({"order-1": records})
    assert await deployment.stop("a") == 0


def _state(deployment: StreamDeployment, version: int, source: bytes) -> Outgoing:
    headers = binary_headers("order.state", f"order-1/{version}", "2026-01-15T12:00:00Z", source=source)
    value = b'{"orderId": "order-1", "version": %d}' % version
    return Outgoing(names.ORDERS, deployment.home("order-1"), b"order-1", value, headers)


async def _publish(deployment: StreamDeployment, *records: Outgoing) -> None:
    await deployment.sink.publish(records)


async def test_a_worker_with_a_database_older_than_kafka_exits_without_deciding(deployment: StreamDeployment):
    await _consume_and_stop(deployment)
    home = deployment.home("order-1")
    await deployment.database.execute("UPDATE public.toy_orders SET version = 12")  # as in a restored backup
    await deployment.database.execute("UPDATE ledger.published SET next_offset = 12 WHERE topic = $1", names.ORDERS)
    await deployment.send("order-1")

    deployment.start("b")

    assert await deployment.exit_code("b") == 1
    log = deployment.log("b")
    assert f"{deployment.settings.topic(names.ORDERS)} partition {home}" in log
    assert "up to offset 12" in log
    assert "up to 30, and the database does not know the one at 12" in log
    assert "`settlement recover`" in log
    assert await deployment.database.fetchval("SELECT count(*) FROM public.toy_seen") == 30
    assert await deployment.database.fetchval("SELECT version FROM public.toy_orders") == 12


async def test_a_worker_with_an_empty_database_and_full_topics_exits_without_deciding(deployment: StreamDeployment):
    await _consume_and_stop(deployment)
    await deployment.database.execute("TRUNCATE public.toy_orders, public.toy_seen, ledger.published, ledger.positions")

    deployment.start("b")

    assert await deployment.exit_code("b") == 1
    log = deployment.log("b")
    assert "up to offset 0, Kafka holds records of ours up to 30, and the database does not know the one at 0" in log


async def test_acknowledged_records_missing_from_the_published_table_are_checked_and_accepted(
    deployment: StreamDeployment,
):
    await _consume_and_stop(deployment)
    await deployment.database.execute("DELETE FROM ledger.published")
    await _publish(deployment, _state(deployment, 7, b"/partial-settlement"))  # a late repeat of a worker that has died

    deployment.start("b")
    await deployment.until_shared(PARTITIONS)

    await deployment.send("order-1")
    await deployment.check_orders({"order-1": 31})
    assert (await _published(deployment))[deployment.home("order-1")] >= 31
    assert await deployment.stop("b") == 0


async def test_loss_of_acknowledged_records_in_kafka_raises_an_alert_and_work_goes_on(deployment: StreamDeployment):
    """A replica without the newest records became leader: consumers that had not read them never will."""
    await _consume_and_stop(deployment)
    home = deployment.home("order-1")
    acknowledged = "UPDATE ledger.published SET next_offset = 40 WHERE topic = $1 AND partition = $2"
    await deployment.database.execute(acknowledged, names.ORDERS, home)

    deployment.start("b")
    await deployment.until_shared(PARTITIONS)

    await deployment.send("order-1")
    await deployment.until_seen(31)
    assert await deployment.stop("b") == 0
    [lost] = [line for line in map(orjson.loads, deployment.log("b").splitlines()) if "first" in line]
    assert lost["event"] == "Kafka lost what it had acknowledged"
    assert (lost["topic"], lost["partition"], lost["first"], lost["end"]) == (names.ORDERS, home, 30, 40)
    assert '"code": "records_lost"' in deployment.log("b")


async def test_records_of_other_producers_at_the_end_of_a_topic_do_not_stop_a_worker(deployment: StreamDeployment):
    await _consume_and_stop(deployment)
    await _publish(deployment, _state(deployment, 99, b"/somebody-else"))
    async with transactional(deployment.settings) as producer:
        for commit in (True, False):  # leaves markers behind, which are offsets without a record
            await producer.begin_transaction()
            topic, home = deployment.settings.topic(names.ORDERS), deployment.home("order-1")
            await producer.send_and_wait(topic, b"{}", key=b"somebody", partition=home)
            await (producer.commit_transaction() if commit else producer.abort_transaction())

    deployment.start("b")
    await deployment.until_shared(PARTITIONS)
    await deployment.send("order-1")
    await deployment.until_seen(31)
    assert await deployment.stop("b") == 0


async def test_a_running_worker_exits_when_another_database_publishes_to_its_topics(deployment: StreamDeployment):
    deployment.start("a")
    await deployment.send_many([("order-1", b"{}", None)] * 30)
    await deployment.until_published({"order-1": 30})
    decided_by_an_old_primary = _state(deployment, 99, b"/partial-settlement")
    await _publish(deployment, decided_by_an_old_primary)
    await deployment.send("order-1")

    assert await deployment.exit_code("a") == 1
    assert "and the database does not know the one at 30" in deployment.log("a")
    assert "`settlement recover`" in deployment.log("a")
    assert (await _published(deployment)).get(deployment.home("order-1"), 0) <= 30


async def test_records_of_other_producers_between_our_own_do_not_stop_a_running_worker(deployment: StreamDeployment):
    deployment.start("a")
    await deployment.send_many([("order-1", b"{}", None)] * 30)
    await deployment.until_published({"order-1": 30})
    await _publish(deployment, _state(deployment, 99, b"/somebody-else"), _state(deployment, 7, b"/partial-settlement"))
    await deployment.send("order-1")
    await deployment.until_published({"order-1": 31})

    async def checked() -> bool:
        return (await _published(deployment)).get(deployment.home("order-1")) == 33

    await deployment.until(checked, "the records of other producers checked")
    assert await deployment.stop("a") == 0


async def test_a_recreated_output_topic_does_not_stop_a_worker_and_is_watched_again(deployment: StreamDeployment):
    await _consume_and_stop(deployment)
    admin = AIOKafkaAdminClient(**client_options(deployment.settings))
    await admin.start()
    await admin.delete_topics([deployment.settings.topic(names.ORDERS)])
    await admin.close()

    async def recreated() -> list[str]:
        return await topics.create_missing(deployment.settings)

    await deployment.until(recreated, "the topic deleted and recreated")

    deployment.start("b")
    await deployment.until_shared(PARTITIONS)
    await deployment.send("order-1")
    await deployment.until_seen(31)
    assert await deployment.stop("b") == 0
    assert (await _published(deployment))[deployment.home("order-1")] == 1

    await deployment.database.execute("UPDATE public.toy_orders SET version = 30")
    await deployment.database.execute("UPDATE ledger.published SET next_offset = 30 WHERE topic = $1", names.ORDERS)
    deployment.start("c")
    assert await deployment.exit_code("c") == 1
