"""Batches that Kafka takes and a client may stumble over: the partition goes on, or the worker says where it cannot."""

import asyncio

import pytest

from tests.batches import CODECS, Handmade, batch, send
from tests.integration.stream.deployment import StreamDeployment
from tests.integration.stream.hosted import Hosted
from tests.integration.stream.toy import Toy
from worker.kafka import names
from worker.kafka.range_reader import read_between
from worker.kafka.records import Record
from worker.stream.control import Control
from worker.stream.cycle import Cycle

GOOD = [("ce_id", b"7"), ("empty", None)]


class Remembering(Toy):
    """Keeps what it was given."""

    def __init__(self, control: Control) -> None:
        super().__init__(control)
        self.given: list[Record] = []

    async def handle(self, cycle: Cycle) -> None:
        await super().handle(cycle)
        self.given += cycle.records


def _order(number: int, value: bytes, name: bytes = b"ce_id") -> Handmade:
    return Handmade(b"order-%d" % number, value, [(name, b"7"), (b"empty", None)])


@pytest.mark.parametrize("codec", CODECS)
async def test_a_header_whose_name_is_no_text_costs_nothing(deployment: StreamDeployment, codec: str):
    strange = [_order(n, b"{%d}" % n, b"\xff\xfe-na\xc3\xafve" if n == 20 else b"ce_id") for n in range(40)]
    await send(deployment.settings, names.INVOICES, 3, batch(strange, codec))
    await send(deployment.settings, names.INVOICES, 3, batch([_order(40, b"after")]))

    worker = Hosted(deployment.settings, Remembering)
    await deployment.until_seen(41)
    await worker.stop()

    assert [one.offset for one in worker.toy.given] == list(range(41))
    assert [one.value for one in worker.toy.given] == [b"{%d}" % n for n in range(40)] + [b"after"]
    assert [one.key for one in worker.toy.given] == [b"order-%d" % n for n in range(41)]
    assert {one.timestamp_ms for one in worker.toy.given} == {strange[0].timestamp_ms}
    assert worker.toy.given[20].headers == [("\\xff\\xfe-naïve", b"7"), ("empty", None)]
    assert all(one.headers == GOOD for one in worker.toy.given if one.offset != 20)


async def test_records_with_strange_bits_are_read_like_others(deployment: StreamDeployment):
    """No bit of a record's attributes means anything yet, and the broker takes all of them."""
    await send(deployment.settings, names.INVOICES, 3, batch([Handmade(b"order-1", b"{}", attributes=0x80)] * 3))

    worker = Hosted(deployment.settings, Remembering)
    await deployment.until_seen(3)
    await worker.stop()

    assert [(one.offset, one.value) for one in worker.toy.given] == [(0, b"{}"), (1, b"{}"), (2, b"{}")]


async def test_strange_records_go_to_the_dead_letters_and_come_back_as_they_were(deployment: StreamDeployment):
    await send(deployment.settings, names.INVOICES, 3, batch([_order(1, b"refuse", b"\xffname"), _order(1, b"{}")]))

    worker = Hosted(deployment.settings, Remembering)
    await deployment.check_orders({"order-1": 1})
    await worker.stop()

    [dead] = deployment.dead()
    assert dead.value == b"refuse"
    assert dead.headers[:2] == [("\\xffname", b"7"), ("empty", None)]


async def test_a_dead_letter_may_have_been_written_at_a_time_that_no_table_takes(deployment: StreamDeployment):
    old = Handmade(b"order-1", b"refuse", timestamp_ms=-(10**17))
    await send(deployment.settings, names.INVOICES, 3, batch([old, _order(1, b"{}")]))

    worker = Hosted(deployment.settings, Remembering)
    await deployment.check_orders({"order-1": 1})
    await worker.stop()

    [dead] = deployment.dead()
    assert dict(dead.headers)["kafka_dlt-original-timestamp"] == old.timestamp_ms.to_bytes(8, "big", signed=True)
    assert await deployment.database.fetchval("SELECT extract(year FROM timestamp) FROM ledger.dead_letters") == 1


@pytest.mark.parametrize("codec", CODECS)
async def test_who_reads_a_topic_once_reads_strange_names_too(deployment: StreamDeployment, codec: str):
    strange = [_order(n, b"{}", b"\xff%d" % n) for n in range(50)]
    await send(deployment.settings, names.INVOICES, 3, batch(strange, codec))

    pages = [page async for page in read_between(deployment.settings, {(names.INVOICES, 3): (5, 45)})]

    found = [record for page in pages for record in page]
    assert [one.offset for one in found] == list(range(5, 45))
    assert [one.headers[0][0] for one in found] == [f"\\xff{n}" for n in range(5, 45)]


async def test_a_batch_that_inflates_without_end_stops_the_worker_with_a_sentence(deployment: StreamDeployment):
    wide = Handmade(b"order-1", bytes(200 << 20))
    await send(deployment.settings, names.INVOICES, 3, batch([_order(1, b"{}")]))
    await send(deployment.settings, names.INVOICES, 3, batch([wide, wide], "zstd"))

    code = await asyncio.to_thread(deployment.start("a").wait, 30)

    assert code == 1
    topic = deployment.settings.topic(names.INVOICES)
    assert f"{topic} partition 3: the batch of offsets 1 to 2 cannot be read" in deployment.log("a")
    assert "Traceback" not in deployment.log("a")
