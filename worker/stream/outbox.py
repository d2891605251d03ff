"""Records on their way to Kafka: a row per cycle and target partition, published in the order of ids."""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import asyncpg
import msgspec
from cramjam import DecompressionError, zstd
from msgspec import Struct

from worker.kafka.dead_letters import dead_letter, printable
from worker.kafka.packing import Batch, pack
from worker.kafka.records import Outgoing
from worker.postgres.connecting import Connection
from worker.postgres.queries import load
from worker.postgres.values import moment
from worker.stream.cycle import Cycle
from worker.stream.stored_records import encode_headers

# Rows of others that one cycle reads; while more are left, our own rows wait behind them in the table.
MISPLACED_ROWS_MAX = 200
LEFT_OVER_PAGE_ROWS = 20
# What Python's values around the bytes of a batch take.
BATCH_OVERHEAD_BYTES = 1_000

ZSTD_LEVEL = 1

_SQL = load("worker.stream")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[tuple[str, int, bytes]]).decode
# What an earlier program left, compressed with zstd too, or with zlib by one before it: records, not in batches yet.
_decode_records = msgspec.msgpack.Decoder(list[Outgoing]).decode
_ZLIB = b"\x78"


class UnreadableRowError(Exception):
    """Somebody wrote there, or a disk is broken: nothing may be published past it."""

    def __init__(self, row_id: int, partition: int) -> None:
        super().__init__(f"outbox row {row_id} of partition {partition} cannot be read: it is not what was written")
        self.row_id = row_id


class Row(Struct, frozen=True):
    """One row that was committed."""

    id: int
    partition: int
    batches: Sequence[Batch]

    @property
    def size(self) -> int:
        """About what it costs in memory."""
        return sum(batch.size() + BATCH_OVERHEAD_BYTES for batch in self.batches)


def stored(batches: Sequence[Batch]) -> bytes:
    """The content of a row."""
    return bytes(zstd.compress(_encode([(*batch.place, batch.content) for batch in batches]), ZSTD_LEVEL))


def restored(content: bytes) -> list[Batch]:
    """What `stored` was given; raises where it is not what was stored."""
    plain = zlib.decompress(content) if content.startswith(_ZLIB) else bytes(zstd.decompress(content))
    try:
        found = _decode(plain)
    except msgspec.DecodeError:
        return pack(_decode_records(plain))
    batches = [Batch((topic, partition), bytearray(batch)) for topic, partition, batch in found]
    if not all(batch.is_intact() for batch in batches):
        raise msgspec.DecodeError("a batch's checksum is another")
    return batches


async def write(cycle: Cycle, prefix: str, dead_letter_bytes: Mapping[str, int], *, behind: bool = False) -> list[Row]:
    """Inserts what the cycle publishes along with its last writes, and returns the rows of owned partitions.

    `behind`: others' rows for our partitions are still unread, so ours are marked like theirs, to be found
    after them, and nothing is returned.
    """
    await _write_dead_letters(cycle, prefix, dead_letter_bytes)
    by_partition: dict[int, list[Batch]] = {}
    for batch in cycle.outgoing:
        by_partition.setdefault(batch.place[1], []).append(batch)
    if not by_partition:
        await cycle.writes.execute(cycle.connection)
        return []
    misplaced = [behind or partition not in cycle.epochs for partition in by_partition]
    contents = [stored(batches) for batches in by_partition.values()]
    ids = await cycle.writes.fetch(cycle.connection, _SQL["write_rows"], list(by_partition), misplaced, contents)
    return [
        Row(row["id"], partition, by_partition[partition])
        for row in ids
        if not behind and (partition := row["partition"]) in cycle.epochs
    ]


async def flush(cycle: Cycle, prefix: str, dead_letter_bytes: Mapping[str, int]) -> int:
    """Writes what a cycle that goes on has published so far; returns how many records that was."""
    number = sum(batch.record_count() for batch in cycle.outgoing)
    await write(cycle, prefix, dead_letter_bytes)
    cycle.clear()
    return number


async def find_misplaced(
    connection: Connection, partitions: Iterable[int], known: Iterable[int]
) -> tuple[list[Row], bool]:
    """Rows that others wrote for these partitions, oldest first, and whether there may be more.

    In a cycle it comes after the handler: whoever decided earlier on an order of this cycle has committed,
    since we waited for the order's lock; so its row is found here and goes before ours.
    """
    found = await connection.fetch(_SQL["find_misplaced"], list(partitions), list(known), MISPLACED_ROWS_MAX)
    return [_row(one) for one in found], len(found) == MISPLACED_ROWS_MAX


async def misplaced_exist(connection: Connection, partitions: Iterable[int], known: Iterable[int]) -> bool:
    return bool(await connection.fetchval(_SQL["misplaced_exist"], list(partitions), list(known)))


async def left_over(connection: Connection, partitions: Iterable[int], known: Iterable[int]) -> list[Row]:
    """The next page of what a former owner had not seen acknowledged; empty at the end.

    Another worker's row may have been committed since the last page and have an id below it: it goes before all rows
    of the same order that came after it, since none of them is seen without it.
    """
    found = await connection.fetch(_SQL["find_left_over"], list(partitions), list(known), LEFT_OVER_PAGE_ROWS)
    return [_row(one) for one in found]


async def _write_dead_letters(cycle: Cycle, prefix: str, bytes_max: Mapping[str, int]) -> None:
    rows: list[tuple[Any, ...]] = []
    for one in cycle.dead:
        record = one.record
        out, reason = dead_letter(record, one.reason, one.message, prefix, bytes_max[record.topic])
        cycle.publish(out)
        rows.append((
            *record.origin, one.order_id, one.merchant, reason, printable(one.message), record.key, record.value,
            encode_headers(record.headers), moment(record.timestamp_ms), moment(cycle.now_ms),
        ))  # fmt: skip
    if rows:
        await cycle.connection.executemany(_SQL["write_dead_letter"], rows)


def _row(found: asyncpg.Record) -> Row:
    try:
        return Row(found["id"], found["partition"], restored(found["records"]))
    except (DecompressionError, zlib.error, msgspec.DecodeError) as problem:
        raise UnreadableRowError(found["id"], found["partition"]) from problem
