"""The stream's cycle: every record is handled once, its output is published, and its position is stored."""

import asyncio
import json
import random
import time
from types import SimpleNamespace

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from confluent_kafka import Producer
from msgspec import structs

from tests.integration.stream.deployment import PARTITIONS, PATIENCE_SECONDS, StreamDeployment
from tests.integration.stream.in_process_worker import InProcessWorker
from tests.integration.stream.toy import Toy
from tests.until import until
from worker.kafka import names
from worker.kafka.connecting import client_options
from worker.kafka.packing import unpack
from worker.kafka.records import Outgoing
from worker.kafka.source import OffsetGoneError, Source
from worker.stream import clock
from worker.stream.control import Control
from worker.stream.cycle import Cycle


async def test_every_record_advances_its_order_once_and_is_published(deployment: StreamDeployment):
    worker = InProcessWorker(deployment.settings)
    orders = [f"order-{n % 10}" for n in range(200)]

    await deployment.send_many([(order, b"{}", None) for order in orders])
    await deployment.until_seen(200)

    await deployment.check_orders({f"order-{n}": 20 for n in range(10)})
    await deployment.until_quiet()
    await worker.stop()
    assert set(worker.toy.released[0]) == set(range(PARTITIONS))
    assert set((await deployment.owners()).values()) == {None}
    reached = await deployment.database.fetchval(
        "SELECT sum(next_offset) FROM ledger.published WHERE topic = $1", names.ORDERS
    )
    assert reached == 200


async def test_a_record_that_the_database_refuses_becomes_one_dead_letter(deployment: StreamDeployment):
    worker = InProcessWorker(deployment.settings)
    wanted = [(f"order-{n}", b"poison" if n == 13 else b"{}", 0) for n in range(40)]

    sent = await deployment.send_many(wanted)
    await deployment.until_seen(39)
    await deployment.check_orders({f"order-{n}": 1 for n in range(40) if n != 13})

    row = await deployment.database.fetchrow("SELECT * FROM ledger.dead_letters")
    assert (row["reason"], row["value"], row["status"]) == ("internal", b"poison", "open")
    assert (row["topic"], row["partition"], row["offset"]) == (names.INVOICES, 0, sent[13].offset)
    [dead] = deployment.dead()
    assert (dead.key, dead.value, dead.partition) == (b"order-13", b"poison", 0)
    await worker.stop()


async def test_a_record_that_collides_with_another_worker_is_retried(deployment: StreamDeployment):
    class CollidesOnce(Toy):
        collided = False

        async def handle(self, cycle: Cycle) -> None:
            if cycle.records and not self.collided:
                self.collided = True
                await cycle.connection.execute("INSERT INTO public.toy_orders VALUES ('same'), ('same')")
            await super().handle(cycle)

    worker = InProcessWorker(deployment.settings, CollidesOnce)

    await deployment.send("order-1")

    await deployment.check_orders({"order-1": 1})
    assert await deployment.database.fetchval("SELECT count(*) FROM ledger.dead_letters") == 0
    await worker.stop()


async def test_a_dead_letter_has_the_headers_that_existing_tools_read(deployment: StreamDeployment):
    worker = InProcessWorker(deployment.settings)

    await deployment.send("order-1", b"refuse", partition=3)

    async def dead() -> bool:
        return bool(deployment.dead())

    await deployment.until(dead, "a dead letter")
    [record] = deployment.dead()
    headers = dict(record.headers)
    topic = deployment.settings.topic(names.INVOICES).encode()
    assert (record.topic, record.partition, record.value) == (names.INVOICES + "-dlt", 3, b"refuse")
    assert headers["kafka_dlt-original-topic"] == headers["__connect.errors.topic"] == topic
    assert headers["kafka_dlt-original-partition"] == (3).to_bytes(4, "big")
    assert headers["kafka_dlt-original-offset"] == (0).to_bytes(8, "big")
    assert headers["__connect.errors.partition"] == b"3"
    assert headers["kafka_dlt-exception-fqcn"] == headers["__connect.errors.exception.class.name"] == b"rejected"
    row = await deployment.database.fetchrow("SELECT * FROM ledger.dead_letters")
    assert (row["order_id"], row["merchant"], row["message"]) == ("order-1", "shop", "it was asked for")
    await worker.stop()


async def test_offsets_reach_kafkas_lag_tools_after_the_database_commit(deployment: StreamDeployment):
    worker = InProcessWorker(deployment.settings)
    group = deployment.settings.topic("settlement-ledger")
    sent = await deployment.send("order-1", partition=2)
    await deployment.until_seen(1)

    async def committed() -> bool:
        return (await _committed(deployment, group)).get(2) == sent.offset + 1

    await deployment.until(committed, "a committed offset")
    await worker.stop()


async def test_a_restarted_worker_resumes_at_the_position_in_the_database(deployment: StreamDeployment):
    worker = InProcessWorker(deployment.settings)
    await deployment.send_many([("order-1", b"{}", None)] * 5)
    await deployment.until_seen(5)
    await worker.stop()

    worker = InProcessWorker(deployment.settings)
    await deployment.send_many([("order-1", b"{}", None)] * 5)
    await deployment.until_seen(10)

    await deployment.check_orders({"order-1": 10})
    assert {taken.epoch for taken in worker.toy.taken_partitions.values()} == {2}
    await worker.stop()


class BatchRecorder(Toy):
    """Keeps the values of each cycle."""

    def __init__(self, control: Control) -> None:
        super().__init__(control)
        self.batches: list[list[bytes | None]] = []

    async def handle(self, cycle: Cycle) -> None:
        if cycle.records:
            self.batches.append([record.value for record in cycle.records])
        await super().handle(cycle)


async def test_a_record_above_the_cycle_limit_is_handled_alone_and_whole(
    deployment: StreamDeployment, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("worker.stream.session.CYCLE_BYTES_MAX", 100_000)
    wide = random.Random(7).randbytes(450_000).hex().encode()
    values = [b"{}", b"[]", wide, b"{}", b"[]"]
    await deployment.send_many([("order-1", value, None) for value in values])

    worker = InProcessWorker(deployment.settings, BatchRecorder)
    await deployment.until_seen(len(values))

    await deployment.check_orders({"order-1": len(values)})
    assert [value for batch in worker.toy.batches for value in batch] == values
    assert [wide] in worker.toy.batches
    await worker.stop()


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_records_of_every_compression_codec_are_read(deployment: StreamDeployment, codec: str):
    worker = InProcessWorker(deployment.settings)
    producer = Producer({"bootstrap.servers": deployment.settings.bootstrap, "compression.type": codec})
    deliveries = []
    producer.produce(
        deployment.settings.topic(names.INVOICES), b"{" + b" " * 9_000 + b"}", b"order-1",
        partition=deployment.home("order-1"), on_delivery=lambda *delivery: deliveries.append(delivery),
    )  # fmt: skip
    await asyncio.to_thread(producer.flush)

    await deployment.until_seen(1)

    await deployment.check_orders({"order-1": 1})
    assert [error for error, _ in deliveries] == [None]
    await worker.stop()


async def _committed(deployment: StreamDeployment, group: str) -> dict[int, int]:
    admin = AIOKafkaAdminClient(**client_options(deployment.settings))
    await admin.start()
    offsets = await admin.list_consumer_group_offsets(group)
    await admin.close()
    return {place.partition: position.offset for place, position in offsets.items()}


async def test_a_source_reads_the_partitions_of_an_immediate_reassignment(deployment: StreamDeployment):
    sent = await deployment.send("order", partition=1)
    source = Source(deployment.settings, "other", (names.INVOICES,), asyncio.Event().set)
    await source.start()

    await source.assign({(names.INVOICES, 0): 0, (names.INVOICES, 1): 0})
    await source.assign({(names.INVOICES, 1): 0})
    [record] = await until(lambda: source.take(10, 1_000), 10)

    assert (record.partition, record.offset) == (1, sent.offset)
    await source.commit({(names.INVOICES, 1): sent.offset + 1})
    assert source.take(10, 1_000) == []
    await source.stop()


async def test_a_source_raises_when_the_topic_lacks_its_position(deployment: StreamDeployment):
    arrived = asyncio.Event()
    source = Source(deployment.settings, "other", (names.INVOICES,), arrived.set)
    await source.start()
    await source.assign({(names.INVOICES, 0): 77})

    await asyncio.wait_for(arrived.wait(), 10)

    with pytest.raises(OffsetGoneError, match="offset 77, but the topic has offsets 0 to 0"):
        source.take(1, 1)
    await source.stop()


async def test_a_worker_keeps_working_when_its_clock_is_set_back_by_an_hour(
    deployment: StreamDeployment, monkeypatch: pytest.MonkeyPatch
):
    class ClockWatcher(Toy):
        def clock_set_back(self, seconds: float) -> None:
            set_back.append(self.cycles)

    set_back: list[int] = []
    worker = InProcessWorker(deployment.settings, ClockWatcher)
    await until(lambda: worker.toy.cycles > 0, PATIENCE_SECONDS)

    monkeypatch.setattr(clock, "time", SimpleNamespace(
        time=lambda: time.time() - 3_600, monotonic=time.monotonic, clock_gettime=time.clock_gettime,
    ))  # fmt: skip

    await until(lambda: set_back and worker.toy.cycles > set_back[0], PATIENCE_SECONDS)
    await worker.stop()
    assert len(set_back) == 1


async def test_a_cycle_ends_before_its_output_exceeds_the_memory_limit(
    deployment: StreamDeployment, monkeypatch: pytest.MonkeyPatch
):
    class LargeOutput(Toy):
        def _state(self, cycle: Cycle, order_id: str, version: int) -> Outgoing:
            state = super()._state(cycle, order_id, version)
            return structs.replace(state, value=json.dumps(json.loads(state.value) | {"more": "x" * 1_000}).encode())

        async def committed(self, cycle: Cycle) -> None:
            output_bytes.append(sum(len(record.value or b"") for record in unpack(cycle.outgoing)))
            await super().committed(cycle)

    monkeypatch.setattr("worker.stream.cycle.PUBLISHED_BYTES_MAX", 5_000)
    output_bytes: list[int] = []
    await deployment.send_many([("order-1", b"{}", None)] * 40)

    worker = InProcessWorker(deployment.settings, LargeOutput)
    await deployment.until_seen(40)
    await worker.stop()

    assert max(output_bytes) <= 5_000
    await deployment.check_orders({"order-1": 40})
