"""The ceiling: reads the same records with the same consumer, inserts their bytes with one statement per batch, and
sends as many records of the same sizes as the ledger does. It decides nothing, locks nothing and reads no rows.

With the argument `rows` it inserts as many rows of the same sizes as the ledger does, instead of the records' bytes."""

import asyncio
import os
import sys

import asyncpg
import uvloop

from tests.bench.expected import messages_of_an_invoice, row_sizes_of_an_invoice
from tests.bench.ledger import PARCELS
from worker.kafka import names
from worker.kafka.packing import pack
from worker.kafka.records import Outgoing, Place, Record
from worker.kafka.sink import Ack, Sink
from worker.kafka.source import Source
from worker.settings import load

BATCH_RECORDS_MAX, BATCH_BYTES_MAX = 2_000, 8 << 20
# Batches sent to Kafka but not acknowledged, while the next one is written.
UNACKNOWLEDGED_MAX = 4
TABLE = 'CREATE TABLE public.bytes (topic text, partition integer, "offset" bigint, key bytea, value bytea)'
INSERT = (
    "INSERT INTO public.bytes SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::bytea[], $5::bytea[])"
)


async def main(rows: list[bytes]) -> None:
    """`rows` are inserted for each record; if empty, the record's own bytes."""
    settings = load()
    messages = messages_of_an_invoice(PARCELS, settings.topic_prefix)
    arrived = asyncio.Event()
    source = Source(settings, "ceiling", (names.INVOICES,), arrived.set)
    sink = Sink(settings)
    connection = await asyncpg.connect(settings.database)
    await connection.execute(TABLE)
    await source.start()
    await sink.start()
    await source.assign({(names.INVOICES, partition): 0 for partition in range(settings.topic_partitions)})
    publishing: list[asyncio.Task[None]] = []
    while True:
        arrived.clear()
        records = source.take(BATCH_RECORDS_MAX, BATCH_BYTES_MAX)
        if not records:
            await arrived.wait()
            continue
        written = [
            (record.topic, record.partition, record.offset, record.key, row)
            for record in records
            for row in rows or [record.value]
        ]
        await connection.execute(INSERT, *map(list, zip(*written, strict=True)))
        acks = await sink.queue(pack(_copies(messages, records)))
        publishing.append(asyncio.create_task(_acknowledged(acks)))
        if len(publishing) == UNACKNOWLEDGED_MAX:
            await publishing.pop(0)


def _copies(messages: list[Outgoing], records: list[Record]) -> list[Outgoing]:
    return [
        Outgoing(message.topic, record.partition, record.key, message.value, message.headers)
        for record in records
        for message in messages
    ]


async def _acknowledged(acks: list[tuple[Place, int, Ack]]) -> None:
    for _, _, ack in acks:
        await ack


if __name__ == "__main__":
    sizes = row_sizes_of_an_invoice(PARCELS) if sys.argv[1:] == ["rows"] else []
    uvloop.run(main([os.urandom(size) for size in sizes]))
