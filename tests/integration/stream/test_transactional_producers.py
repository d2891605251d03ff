"""An ERP that publishes in Kafka transactions: committed, aborted and open ones."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import RequestTimedOutError
from prometheus_client import REGISTRY

from tests.integration.stream.deployment import StreamDeployment
from tests.integration.stream.in_process_worker import InProcessWorker
from tests.integration.stream.toy import Toy
from tests.transactions import transactional
from worker.kafka import names
from worker.kafka.connecting import client_options
from worker.kafka.lag import LagReader
from worker.kafka.range_reader import read_between
from worker.stream.cycle import Cycle

PARTITION = 2


@pytest.fixture
async def erp(deployment: StreamDeployment) -> AsyncIterator[AIOKafkaProducer]:
    async with transactional(deployment.settings) as producer:
        yield producer


async def _publish(deployment: StreamDeployment, erp: AIOKafkaProducer, *orders: str) -> None:
    for order in orders:
        topic = deployment.settings.topic(names.INVOICES)
        await erp.send_and_wait(topic, b"{}", key=order.encode(), partition=PARTITION)


async def _publish_committed(deployment: StreamDeployment, erp: AIOKafkaProducer, *orders: str) -> None:
    await erp.begin_transaction()
    await _publish(deployment, erp, *orders)
    await erp.commit_transaction()


async def _publish_aborted(deployment: StreamDeployment, erp: AIOKafkaProducer, *orders: str) -> None:
    await erp.begin_transaction()
    await _publish(deployment, erp, *orders)
    await erp.abort_transaction()


async def _seen(deployment: StreamDeployment) -> list[str]:
    rows = await deployment.database.fetch('SELECT order_id FROM public.toy_seen ORDER BY "offset"')
    return [row["order_id"] for row in rows]


async def _position(deployment: StreamDeployment) -> int:
    query = "SELECT next_offset FROM ledger.positions WHERE topic = $1 AND partition = $2"
    return await deployment.database.fetchval(query, names.INVOICES, PARTITION) or 0


async def _until_position(deployment: StreamDeployment, wanted: int) -> None:
    async def is_stored() -> bool:
        return await _position(deployment) == wanted

    await deployment.until(is_stored, f"a stored position of {wanted}")


async def test_records_of_aborted_transactions_are_not_consumed(deployment: StreamDeployment, erp: AIOKafkaProducer):
    await _publish_aborted(deployment, erp, "aborted", "aborted")
    await _publish_committed(deployment, erp, "order-1", "order-2")
    await _publish_aborted(deployment, erp, "aborted")
    await deployment.send("order-3", partition=PARTITION)

    worker = InProcessWorker(deployment.settings)
    await deployment.until_seen(3)
    await worker.stop()

    assert await _seen(deployment) == ["order-1", "order-2", "order-3"]
    await deployment.check_orders({"order-1": 1, "order-2": 1, "order-3": 1})


async def test_an_idle_worker_advances_past_transaction_markers_and_shows_no_lag(
    deployment: StreamDeployment, erp: AIOKafkaProducer
):
    worker = InProcessWorker(deployment.settings)
    lag = LagReader(deployment.settings, {"ledger": (names.INVOICES,)})
    await _publish_committed(deployment, erp, "order-1")  # offset 0, and a marker
    await _publish_aborted(deployment, erp, "aborted")  # offset 2, and a marker

    await _until_position(deployment, 4)

    async def caught_up() -> bool:
        return (await lag.read())["ledger"][PARTITION] == 0

    await deployment.until(caught_up, "no lag for the lag tools")
    await worker.runner.measure()
    place = {"topic": names.INVOICES, "partition": str(PARTITION)}
    assert REGISTRY.get_sample_value("settlement_consumer_lag_records", place) == 0
    assert await _seen(deployment) == ["order-1"]
    await lag.close()
    await worker.stop()


async def test_a_busy_worker_advances_past_transaction_markers(deployment: StreamDeployment, erp: AIOKafkaProducer):
    class Busy(Toy):
        async def committed(self, cycle: Cycle) -> None:
            await super().committed(cycle)
            self.control.wake()  # one cycle after another, as while other partitions have much to read

    worker = InProcessWorker(deployment.settings, Busy)

    await _publish_committed(deployment, erp, "order-1")  # offset 0, and a marker

    await _until_position(deployment, 2)
    assert await _seen(deployment) == ["order-1"]
    await worker.stop()


async def test_deleted_transaction_markers_do_not_count_as_lost_records(
    deployment: StreamDeployment, erp: AIOKafkaProducer
):
    worker = InProcessWorker(deployment.settings)
    await _publish_committed(deployment, erp, "order-1")
    await _until_position(deployment, 2)
    await worker.stop()
    admin = AIOKafkaAdminClient(**client_options(deployment.settings))
    await admin.start()
    place = TopicPartition(deployment.settings.topic(names.INVOICES), PARTITION)
    await admin.delete_records({place: RecordsToDelete(before_offset=-1)})  # as retention does
    await admin.close()

    worker = InProcessWorker(deployment.settings)
    await _publish_committed(deployment, erp, "order-2")

    await deployment.until_seen(2)
    await worker.stop()


async def test_records_behind_an_open_transaction_wait_and_show_as_lag(
    deployment: StreamDeployment, erp: AIOKafkaProducer
):
    worker = InProcessWorker(deployment.settings)
    lag = LagReader(deployment.settings, {"ledger": (names.INVOICES,)})
    await deployment.send("order-1", partition=PARTITION)
    await deployment.until_seen(1)
    await erp.begin_transaction()
    await _publish(deployment, erp, "order-2")
    await deployment.send("order-3", partition=PARTITION)
    await deployment.send("elsewhere", partition=PARTITION + 1)

    await deployment.until_seen(2)

    async def behind() -> bool:
        return (await lag.read())["ledger"][PARTITION] == 2

    await deployment.until(behind, "a lag of the two records that wait")
    assert await _seen(deployment) in (["order-1", "elsewhere"], ["elsewhere", "order-1"])
    assert worker.runner.condition() == {}
    await erp.commit_transaction()
    await deployment.until_seen(4)
    await lag.close()
    await worker.stop()


async def test_a_worker_resumes_from_a_position_inside_an_open_transaction(
    deployment: StreamDeployment, erp: AIOKafkaProducer
):
    """A worker that read uncommitted records stored such a position."""
    await erp.begin_transaction()
    await _publish(deployment, erp, "order-1", "order-2")
    insert = "INSERT INTO ledger.positions VALUES ($1, $2, 2)"
    await deployment.database.execute(insert, names.INVOICES, PARTITION)

    worker = InProcessWorker(deployment.settings)
    await deployment.send("elsewhere", partition=PARTITION + 1)
    await deployment.until_seen(1)
    await _publish(deployment, erp, "order-3")
    await erp.commit_transaction()

    await deployment.until_seen(2)
    assert sorted(await _seen(deployment)) == ["elsewhere", "order-3"]
    await worker.stop()


async def test_the_range_reader_does_not_wait_for_open_transactions(
    deployment: StreamDeployment, erp: AIOKafkaProducer
):
    await _publish_committed(deployment, erp, "order-1")
    await _publish_aborted(deployment, erp, "aborted")
    await erp.begin_transaction()
    await _publish(deployment, erp, "open")
    sent = await deployment.send("order-2", partition=PARTITION)

    async with asyncio.timeout(20):
        place = names.INVOICES, PARTITION
        pages = [page async for page in read_between(deployment.settings, {place: (0, sent.offset + 1)})]

    assert [record.offset for page in pages for record in page][-1] == sent.offset
    await erp.abort_transaction()
    async with asyncio.timeout(20):
        async for _ in read_between(deployment.settings, {place: (sent.offset + 1, sent.offset + 2)}):
            raise AssertionError("a marker is not a record")


async def test_the_range_reader_times_out_when_no_broker_answers(
    deployment: StreamDeployment, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("worker.kafka.range_reader.SILENT_SECONDS_MAX", 0.1)
    sent = await deployment.send("order-1", partition=PARTITION)
    beyond = sent.offset + 10
    reading = read_between(deployment.settings, {(names.INVOICES, PARTITION): (0, beyond)})
    async with asyncio.timeout(20):
        assert [record.offset for record in await anext(reading)] == [sent.offset]
        with pytest.raises(RequestTimedOutError, match=f"{names.INVOICES} partition {PARTITION}"):
            await anext(reading)
