"""The outbox table: one row per cycle and target partition, published in the order of ids."""

import zlib
from collections.abc import Iterable, Sequence

import asyncpg
import msgspec
from cramjam import DecompressionError, zstd
from msgspec import Struct

from worker.kafka.packing import Batch, pack
from worker.kafka.records import Outgoing
from worker.postgres.connecting import Connection
from worker.postgres.queries import load
from worker.stream.cycle import Cycle

# Misplaced rows that one cycle reads; while more are left, our own rows wait behind them in the table.
MISPLACED_ROWS_MAX = 200
LEFT_OVER_PAGE_ROWS = 20
# What the Python objects around the bytes of a batch take.
BATCH_OVERHEAD_BYTES = 1_000

ZSTD_LEVEL = 1

_SQL = load("worker.stream")
_pack_row = msgspec.msgpack.Encoder().encode
_unpack_row = msgspec.msgpack.Decoder(list[tuple[str, int, bytes]]).decode
# Earlier versions stored records, not batches, compressed with zstd, and before that with zlib.
_unpack_row_of_records = msgspec.msgpack.Decoder(list[Outgoing]).decode
_ZLIB = b"\x78"


class UnreadableRowError(Exception):
    """A row was altered or damaged: nothing may be published past it."""

    def __init__(self, row_id: int, partition: int) -> None:
        super().__init__(
            f"outbox row {row_id} of partition {partition} cannot be read: its content is not what a worker wrote"
        )
        self.row_id = row_id


class Row(Struct, frozen=True):
    """One committed row."""

    id: int
    partition: int
    batches: Sequence[Batch]

    @property
    def size(self) -> int:
        """About the bytes that it takes in memory."""
        return sum(batch.size() + BATCH_OVERHEAD_BYTES for batch in self.batches)


def encode(batches: Sequence[Batch]) -> bytes:
    """Encodes the content of a row."""
    return bytes(zstd.compress(_pack_row([(*batch.place, batch.content) for batch in batches]), ZSTD_LEVEL))


def decode(content: bytes) -> list[Batch]:
    """Decodes the content of a row; raises if it was altered."""
    plain = zlib.decompress(content) if content.startswith(_ZLIB) else bytes(zstd.decompress(content))
    try:
        rows = _unpack_row(plain)
    except msgspec.DecodeError:
        return pack(_unpack_row_of_records(plain))
    batches = [Batch((topic, partition), bytearray(batch)) for topic, partition, batch in rows]
    if not all(batch.is_intact() for batch in batches):
        raise msgspec.DecodeError("a batch does not match its checksum")
    return batches


async def write(cycle: Cycle, *, behind: bool = False) -> list[Row]:
    """Inserts what the cycle publishes, along with its last writes; returns the rows of owned partitions.

    `behind`: misplaced rows for our partitions are still unread. So our rows are marked as misplaced too, to be found
    after those, and nothing is returned.
    """
    by_partition: dict[int, list[Batch]] = {}
    for batch in cycle.outgoing:
        by_partition.setdefault(batch.place[1], []).append(batch)
    if not by_partition:
        await cycle.writes.execute(cycle.connection)
        return []
    misplaced = [behind or partition not in cycle.epochs for partition in by_partition]
    contents = [encode(batches) for batches in by_partition.values()]
    ids = await cycle.writes.fetch(cycle.connection, _SQL["write_rows"], list(by_partition), misplaced, contents)
    return [
        Row(row["id"], partition, by_partition[partition])
        for row in ids
        if not behind and (partition := row["partition"]) in cycle.epochs
    ]


async def flush(cycle: Cycle) -> int:
    """Inserts what a cycle has published so far, and lets it go on; returns the number of those records."""
    number = sum(batch.record_count() for batch in cycle.outgoing)
    await write(cycle)
    cycle.clear()
    return number


async def find_misplaced(
    connection: Connection, partitions: Iterable[int], known: Iterable[int]
) -> tuple[list[Row], bool]:
    """Returns rows that others wrote for these partitions, oldest first, and whether there may be more.

    A cycle calls it after the handler. Whoever decided earlier on an order of this cycle has committed by then,
    since we waited for the order's lock: so that row is found here, and is published before ours.
    """
    rows = await connection.fetch(_SQL["find_misplaced"], list(partitions), list(known), MISPLACED_ROWS_MAX)
    return [_row(row) for row in rows], len(rows) == MISPLACED_ROWS_MAX


async def misplaced_exist(connection: Connection, partitions: Iterable[int], known: Iterable[int]) -> bool:
    return bool(await connection.fetchval(_SQL["misplaced_exist"], list(partitions), list(known)))


async def left_over(connection: Connection, partitions: Iterable[int], known: Iterable[int]) -> list[Row]:
    """Returns the next page of rows that the former owner had not deleted; empty at the end.

    Another worker may commit a row with a lower id than those of the last page. It is still published before all later
    rows of the same order, since whoever sees one of those sees this row too.
    """
    rows = await connection.fetch(_SQL["find_left_over"], list(partitions), list(known), LEFT_OVER_PAGE_ROWS)
    return [_row(row) for row in rows]


def _row(row: asyncpg.Record) -> Row:
    try:
        return Row(row["id"], row["partition"], decode(row["records"]))
    except (DecompressionError, zlib.error, msgspec.DecodeError) as problem:
        raise UnreadableRowError(row["id"], row["partition"]) from problem
