"""One cycle after another: every record once, its consequences published, its fate durable."""

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
from tests.integration.stream.hosted import Hosted
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
    worker = Hosted(deployment.settings)
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


async def test_what_the_database_refuses_costs_one_dead_letter(deployment: StreamDeployment):
    worker = Hosted(deployment.settings)
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


async def test_what_collides_with_another_worker_is_tried_again_before_it_is_given_up(deployment: StreamDeployment):
    class CollidesOnce(Toy):
        collided = False

        async def handle(self, cycle: Cycle) -> None:
            if cycle.records and not self.collided:
                self.collided = True
                await cycle.connection.execute("INSERT INTO public.toy_orders VALUES ('same'), ('same')")
            await super().handle(cycle)

    worker = Hosted(deployment.settings, CollidesOnce)

    await deployment.send("order-1")

    await deployment.check_orders({"order-1": 1})
    assert await deployment.database.fetchval("SELECT count(*) FROM ledger.dead_letters") == 0
    await worker.stop()


async def test_a_dead_letter_carries_what_existing_tools_read(deployment: StreamDeployment):
    worker = Hosted(deployment.settings)

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


async def test_offsets_reach_the_lag_tools_after_the_commit(deployment: StreamDeployment):
    worker = Hosted(deployment.settings)
    group = deployment.settings.topic("settlement-ledger")
    sent = await deployment.send("order-1", partition=2)
    await deployment.until_seen(1)

    async def committed() -> bool:
        return (await _committed(deployment, group)).get(2) == sent.offset + 1

    await deployment.until(committed, "a committed offset")
    await worker.stop()


async def test_a_restart_goes_on_where_the_database_says(deployment: StreamDeployment):
    worker = Hosted(deployment.settings)
    await deployment.send_many([("order-1", b"{}", None)] * 5)
    await deployment.until_seen(5)
    await worker.stop()

    worker = Hosted(deployment.settings)
    await deployment.send_many([("order-1", b"{}", None)] * 5)
    await deployment.until_seen(10)

    await deployment.check_orders({"order-1": 10})
    assert {one.epoch for one in worker.toy.taken_partitions.values()} == {2}
    await worker.stop()


class Remembering(Toy):
    """Knows which values came together, byte for byte."""

    def __init__(self, control: Control) -> None:
        super().__init__(control)
        self.batches: list[list[bytes | None]] = []

    async def handle(self, cycle: Cycle) -> None:
        if cycle.records:
            self.batches.append([record.value for record in cycle.records])
        await super().handle(cycle)


async def test_a_wide_record_arrives_alone_and_whole(deployment: StreamDeployment, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("worker.stream.session.CYCLE_BYTES_MAX", 100_000)
    wide = random.Random(7).randbytes(450_000).hex().encode()
    values = [b"{}", b"[]", wide, b"{}", b"[]"]
    await deployment.send_many([("order-1", value, None) for value in values])

    worker = Hosted(deployment.settings, Remembering)
    await deployment.until_seen(len(values))

    await deployment.check_orders({"order-1": len(values)})
    assert [value for batch in worker.toy.batches for value in batch] == values
    assert [wide] in worker.toy.batches
    await worker.stop()


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_what_a_producer_compressed_is_read(deployment: StreamDeployment, codec: str):
    worker = Hosted(deployment.settings)
    producer = Producer({"bootstrap.servers": deployment.settings.bootstrap, "compression.type": codec})
    told = []
    producer.produce(deployment.settings.topic(names.INVOICES), b"{" + b" " * 9_000 + b"}", b"order-1",
                     partition=deployment.home("order-1"), on_delivery=lambda *one: told.append(one))  # fmt: skip
    await asyncio.to_thread(producer.flush)

    await deployment.until_seen(1)

    await deployment.check_orders({"order-1": 1})
    assert [problem for problem, _ in told] == [None]
    await worker.stop()


async def _committed(deployment: StreamDeployment, group: str) -> dict[int, int]:
    admin = AIOKafkaAdminClient(**client_options(deployment.settings))
    await admin.start()
    found = await admin.list_consumer_group_offsets(group)
    await admin.close()
    return {place.partition: at.offset for place, at in found.items()}


async def test_a_source_that_is_told_other_partitions_in_the_next_moment_reads_them(deployment: StreamDeployment):
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


async def test_a_source_says_when_its_position_is_gone(deployment: StreamDeployment):
    arrived = asyncio.Event()
    source = Source(deployment.settings, "other", (names.INVOICES,), arrived.set)
    await source.start()
    await source.assign({(names.INVOICES, 0): 77})

    await asyncio.wait_for(arrived.wait(), 10)

    with pytest.raises(OffsetGoneError, match="offset 77, but the topic has offsets 0 to 0"):
        source.take(1, 1)
    await source.stop()


async def test_a_worker_whose_clock_is_set_back_by_an_hour_does_not_wait_until_it_is_as_late_again(
    deployment: StreamDeployment, monkeypatch: pytest.MonkeyPatch
):
    class Waits(Toy):
        def clock_set_back(self, seconds: float) -> None:
            set_back.append(self.cycles)

    set_back: list[int] = []
    worker = Hosted(deployment.settings, Waits)
    await until(lambda: worker.toy.cycles > 0, PATIENCE_SECONDS)

    monkeypatch.setattr(clock, "time", SimpleNamespace(
        time=lambda: time.time() - 3_600, monotonic=time.monotonic, clock_gettime=time.clock_gettime,
    ))  # fmt: skip

    await until(lambda: set_back and worker.toy.cycles > set_back[0], PATIENCE_SECONDS)
    await worker.stop()
    assert len(set_back) == 1


async def test_records_that_cause_more_than_memory_should_hold_are_decided_a_few_at_a_time(
    deployment: StreamDeployment, monkeypatch: pytest.MonkeyPatch
):
    class Talkative(Toy):
        def _state(self, cycle: Cycle, order_id: str, version: int) -> Outgoing:
            out = super()._state(cycle, order_id, version)
            return structs.replace(out, value=json.dumps(json.loads(out.value) | {"more": "x" * 1_000}).encode())

        async def committed(self, cycle: Cycle) -> None:
            told.append(sum(len(one.value or b"") for one in unpack(cycle.outgoing)))
            await super().committed(cycle)

    monkeypatch.setattr("worker.stream.cycle.PUBLISHED_BYTES_MAX", 5_000)
    told: list[int] = []
    await deployment.send_many([("order-1", b"{}", None)] * 40)

    worker = Hosted(deployment.settings, Talkative)
    await deployment.until_seen(40)
    await worker.stop()

    assert max(told) <= 5_000
    await deployment.check_orders({"order-1": 40})
