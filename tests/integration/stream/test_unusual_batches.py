"""Unusual batches that Kafka accepts: the worker reads them, or exits and names the offsets."""

import pytest

from tests.batches import CODECS, Handmade, batch, send
from tests.integration.stream.deployment import StreamDeployment
from tests.integration.stream.in_process_worker import InProcessWorker
from tests.integration.stream.toy import Toy
from worker.kafka import names
from worker.kafka.range_reader import read_between
from worker.kafka.records import Record
from worker.stream.control import Control
from worker.stream.cycle import Cycle

GOOD = [("ce_id", b"7"), ("empty", None)]


class RecordKeeper(Toy):
    """Keeps the records that it handled."""

    def __init__(self, control: Control) -> None:
        super().__init__(control)
        self.handled: list[Record] = []

    async def handle(self, cycle: Cycle) -> None:
        await super().handle(cycle)
        self.handled += cycle.records


def _order(number: int, value: bytes, name: bytes = b"ce_id") -> Handmade:
    return Handmade(b"order-%d" % number, value, [(name, b"7"), (b"empty", None)])


@pytest.mark.parametrize("codec", CODECS)
async def test_a_header_name_that_is_not_utf8_is_read_escaped(deployment: StreamDeployment, codec: str):
    strange = [_order(n, b"{%d}" % n, b"\xff\xfe-na\xc3\xafve" if n == 20 else b"ce_id") for n in range(40)]
    await send(deployment.settings, names.INVOICES, 3, batch(strange, codec))
    await send(deployment.settings, names.INVOICES, 3, batch([_order(40, b"after")]))

    worker = InProcessWorker(deployment.settings, RecordKeeper)
    await deployment.until_seen(41)
    await worker.stop()

    assert [record.offset for record in worker.toy.handled] == list(range(41))
    assert [record.value for record in worker.toy.handled] == [b"{%d}" % n for n in range(40)] + [b"after"]
    assert [record.key for record in worker.toy.handled] == [b"order-%d" % n for n in range(41)]
    assert {record.timestamp_ms for record in worker.toy.handled} == {strange[0].timestamp_ms}
    assert worker.toy.handled[20].headers == [("\\xff\\xfe-naïve", b"7"), ("empty", None)]
    assert all(record.headers == GOOD for record in worker.toy.handled if record.offset != 20)


async def test_records_with_unknown_attribute_bits_are_read(deployment: StreamDeployment):
    """No attribute bit of a record has a meaning yet, and the broker accepts all of them."""
    await send(deployment.settings, names.INVOICES, 3, batch([Handmade(b"order-1", b"{}", attributes=0x80)] * 3))

    worker = InProcessWorker(deployment.settings, RecordKeeper)
    await deployment.until_seen(3)
    await worker.stop()

    assert [(record.offset, record.value) for record in worker.toy.handled] == [(0, b"{}"), (1, b"{}"), (2, b"{}")]


async def test_a_dead_letter_keeps_a_header_name_that_is_not_utf8(deployment: StreamDeployment):
    await send(deployment.settings, names.INVOICES, 3, batch([_order(1, b"refuse", b"\xffname"), _order(1, b"{}")]))

    worker = InProcessWorker(deployment.settings, RecordKeeper)
    await deployment.check_orders({"order-1": 1})
    await worker.stop()

    [dead] = deployment.dead()
    assert dead.value == b"refuse"
    assert dead.headers[:2] == [("\\xffname", b"7"), ("empty", None)]


async def test_a_record_with_a_timestamp_outside_postgresqls_range_becomes_a_dead_letter(deployment: StreamDeployment):
    old = Handmade(b"order-1", b"refuse", timestamp_ms=-(10**17))
    await send(deployment.settings, names.INVOICES, 3, batch([old, _order(1, b"{}")]))

    worker = InProcessWorker(deployment.settings, RecordKeeper)
    await deployment.check_orders({"order-1": 1})
    await worker.stop()

    [dead] = deployment.dead()
    assert dict(dead.headers)["kafka_dlt-original-timestamp"] == old.timestamp_ms.to_bytes(8, "big", signed=True)
    assert await deployment.database.fetchval("SELECT extract(year FROM timestamp) FROM ledger.dead_letters") == 1


@pytest.mark.parametrize("codec", CODECS)
async def test_the_range_reader_reads_header_names_that_are_not_utf8(deployment: StreamDeployment, codec: str):
    strange = [_order(n, b"{}", b"\xff%d" % n) for n in range(50)]
    await send(deployment.settings, names.INVOICES, 3, batch(strange, codec))

    pages = [page async for page in read_between(deployment.settings, {(names.INVOICES, 3): (5, 45)})]

    records = [record for page in pages for record in page]
    assert [record.offset for record in records] == list(range(5, 45))
    assert [record.headers[0][0] for record in records] == [f"\\xff{n}" for n in range(5, 45)]


async def test_a_worker_exits_with_a_message_at_a_batch_that_inflates_too_far(deployment: StreamDeployment):
    wide = Handmade(b"order-1", bytes(200 << 20))
    await send(deployment.settings, names.INVOICES, 3, batch([_order(1, b"{}")]))
    await send(deployment.settings, names.INVOICES, 3, batch([wide, wide], "zstd"))

    deployment.start("a")

    assert await deployment.exit_code("a") == 1
    topic = deployment.settings.topic(names.INVOICES)
    assert f"{topic} partition 3: the batch of offsets 1 to 2 cannot be read" in deployment.log("a")
    assert "Traceback" not in deployment.log("a")
