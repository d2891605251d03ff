"""Topics truncated by a broker that lost its newest records: the new records at their offsets are never skipped."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from struct import Struct
from typing import Any

import pytest
from aiokafka.errors import RequestTimedOutError

from tests.integration.stream.deployment import PARTITIONS, StreamDeployment
from tests.transactions import transactional
from tests.until import until
from worker.kafka import names, topics
from worker.kafka.records import Outgoing, Place, Record
from worker.kafka.sink import Sink
from worker.kafka.source import LogTruncatedError, Source
from worker.settings import Settings, load
from worker.stack.broker import Broker
from worker.stack.home import Home

INVOICES, ELSEWHERE = (names.INVOICES, 2), 4
_BATCH = Struct(">qi")


class TruncatingBroker(Broker):
    """A broker whose log can lose its newest records."""

    def truncate(self, topic: str, offset: int) -> None:
        """Stops the broker, truncates the log of our partition at this offset, and starts the broker again."""
        self.stop()
        log = self.data / f"{topic}-{INVOICES[1]}" / f"{0:020}.log"
        content, at = log.read_bytes(), 0
        while _BATCH.unpack_from(content, at)[0] < offset:
            at += _BATCH.size + _BATCH.unpack_from(content, at)[1]
        log.write_bytes(content[:at])
        self.start()

    def restart_as_new_leader(self) -> None:
        """Restarts the broker: the leader has a new epoch, and nothing is lost."""
        self.stop()
        self.start()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TruncatingBroker]:
    broker = TruncatingBroker(Home(tmp_path_factory.mktemp("losing") / "home"))
    broker.home.make()
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def environment(environment: dict[str, str], broker: TruncatingBroker) -> dict[str, str]:
    return environment | {"KAFKA_BOOTSTRAP_SERVERS": broker.address}


@pytest.fixture
def settings(environment: dict[str, str]) -> Settings:
    return load(environment)


@pytest.fixture
async def source(settings: Settings) -> AsyncIterator[Source]:
    await topics.create_missing(settings)
    source = Source(settings, "ledger", (names.INVOICES,), lambda: None)
    await source.start()
    await source.assign({INVOICES: 0, (names.INVOICES, ELSEWHERE): 0})
    yield source
    await source.stop()


async def _send(settings: Settings, *values: bytes, partition: int = INVOICES[1]) -> None:
    async with Sink(settings) as sink:
        for value in values:
            await sink.publish([Outgoing(names.INVOICES, partition, b"order-1", value, [])])


async def _read(source: Source, number: int) -> list[Record]:
    await until(lambda: len(source._buffer) >= number or source._has_ended(), 30)
    return source.take(number, 1 << 20)


async def _values(source: Source, number: int) -> list[bytes | None]:
    return [record.value for record in await _read(source, number)]


async def test_a_reader_raises_when_records_it_has_read_were_truncated_and_replaced(
    source: Source, settings: Settings, broker: TruncatingBroker
):
    """Even when it was not reading while the topic was shorter than its position."""
    await _send(settings, b"0", b"1", b"2", b"3")
    last = (await _read(source, 4))[-1]
    await source.assign({})

    await asyncio.to_thread(broker.truncate, settings.topic(names.INVOICES), 2)
    await _send(settings, b"2, other", b"3, other", b"4")
    source.set_verified_positions({INVOICES: last.position})
    await source.assign({INVOICES: last.offset + 1})

    with pytest.raises(LogTruncatedError, match=r"position is offset 4, but Kafka has lost all of it from offset 2 on"):
        await _read(source, 1)


async def test_a_reader_follows_a_new_leader_that_lost_nothing_and_reads_nothing_twice(
    source: Source, settings: Settings, broker: TruncatingBroker
):
    await _send(settings, b"0", b"1")
    assert await _values(source, 2) == [b"0", b"1"]

    await asyncio.to_thread(broker.restart_as_new_leader)
    await _send(settings, b"2", b"3")
    read = await _values(source, 2)
    await _send(settings, b"4")

    assert read + await _values(source, 1) == [b"2", b"3", b"4"]


async def test_a_leader_that_does_not_answer_delays_only_its_own_partition(
    source: Source, settings: Settings, broker: TruncatingBroker, monkeypatch: pytest.MonkeyPatch
):
    await _send(settings, b"0")
    assert await _values(source, 1) == [b"0"]
    silent, truncated = [True], source.inspector.truncated

    async def time_out(*arguments: Any) -> dict[Place, int]:
        if silent and INVOICES in arguments[0]:
            raise RequestTimedOutError
        return await truncated(*arguments)

    monkeypatch.setattr(source.inspector, "truncated", time_out)
    await asyncio.to_thread(broker.restart_as_new_leader)
    await _send(settings, b"1")
    await _send(settings, b"elsewhere", partition=ELSEWHERE)

    assert await _values(source, 1) == [b"elsewhere"]
    silent.clear()
    assert await _values(source, 1) == [b"1"]


async def test_an_aborted_transaction_under_a_new_leader_is_passed_over(
    source: Source, settings: Settings, broker: TruncatingBroker
):
    """No record that shows the leader's epoch is read."""
    await _send(settings, b"0")
    assert await _values(source, 1) == [b"0"]

    await asyncio.to_thread(broker.restart_as_new_leader)
    async with transactional(settings) as erp:
        await erp.begin_transaction()
        await erp.send_and_wait(settings.topic(names.INVOICES), b"aborted", partition=INVOICES[1])
        await erp.abort_transaction()

    await until(lambda: source.read_positions()[INVOICES].next_offset == 3, 30)
    await _send(settings, b"3")
    assert await _values(source, 1) == [b"3"]


async def test_a_worker_on_a_truncated_topic_exits_until_an_operator_sets_its_position(
    deployment: StreamDeployment, broker: TruncatingBroker
):
    deployment.start("a")
    await deployment.until_shared(PARTITIONS)
    await _send(deployment.settings, b"{}", b"{}", b"{}")
    await deployment.until_seen(3)
    assert await deployment.stop("a") == 0
    await asyncio.to_thread(broker.truncate, deployment.settings.topic(names.INVOICES), 1)
    await _send(deployment.settings, *[b"{}"] * 5)

    deployment.start("b")

    assert await deployment.exit_code("b") == 1
    message = "the stored position is offset 3, but Kafka has lost all of it from offset 1 on"
    assert f"{deployment.settings.topic(names.INVOICES)} partition 2: {message}" in deployment.log("b")

    await deployment.database.execute("TRUNCATE public.toy_seen")
    set_position = "UPDATE ledger.positions SET next_offset = 1, topic_id = NULL WHERE topic = $1 AND partition = $2"
    await deployment.database.execute(set_position, *INVOICES)
    deployment.start("c")
    await deployment.until_seen(5)
