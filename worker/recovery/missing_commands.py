"""Commands that the ledger issued and that neither the delivery worker's tables nor their topic have."""

from collections.abc import AsyncIterator, Iterator
from itertools import count

from worker.delivery.job import Job
from worker.delivery.taking import read_job
from worker.domain.kept import decode_fact, decode_terms
from worker.domain.order import Command, Order
from worker.kafka import names
from worker.kafka.packing import unpack
from worker.kafka.records import Outgoing, Record
from worker.ledger.order_fold import OrderFold
from worker.ledger.publishing import encode_events, publish
from worker.postgres.connecting import Connection
from worker.postgres.queries import load
from worker.stream.cycle import Cycle

_SQL = load("worker.recovery")


async def not_taken_over(cycle: Cycle, prefix: str) -> AsyncIterator[tuple[Command, Outgoing]]:
    """Each such command with its record, folded again from the facts of its order."""
    for row in await cycle.connection.fetch(_SQL["not_taken_over"]):
        order_id = row["order_id"]
        known = {one["command_id"] for one in await cycle.connection.fetch(_SQL["taken_over_of_order"], order_id)}
        fold = await _folded(cycle, order_id)
        scratch = Cycle(cycle.connection, [], {}, cycle.now_ms, cycle.partitions)
        publish(scratch, fold, encode_events(fold, prefix))
        records = [record for record in unpack(scratch.outgoing) if record.topic == names.COMMANDS]
        for asked, record in zip(fold.commands, records, strict=True):
            if asked.command_id not in known:
                yield fold.order.commands[asked.command_id], record


async def unused_offsets(connection: Connection) -> Iterator[int]:
    """Negative offsets that no command has, for commands whose record is gone."""
    return count(await connection.fetchval(_SQL["lowest_offset"]) - 1, -1)


async def as_job(cycle: Cycle, record: Outgoing, unused_offsets: Iterator[int]) -> Job:
    """The job that the delivery worker would have made; with the offset in the command's dead letter, if it has one."""
    subject = (record.topic, record.partition, (record.key or b"").decode(), record.value)
    offset = await cycle.connection.fetchval(_SQL["offset_in_dead_letter"], *subject)
    offset = next(unused_offsets) if offset is None else offset
    read = Record(record.topic, record.partition, offset, record.key, record.value, record.headers, cycle.now_ms)
    job = read_job(cycle, read)
    assert job is not None, "the ledger wrote this command, so it can be read"
    return job


async def _folded(cycle: Cycle, order_id: str) -> OrderFold:
    fold = OrderFold(Order(order_id), cycle.partition_of(order_id), 0)
    for row in await cycle.connection.fetch(_SQL["facts_of_one_order"], order_id):
        fold.apply(decode_fact(row["fact"]), decode_terms(row["terms"]), None, None)
    return fold
