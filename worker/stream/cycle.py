"""One transaction under way, and what a feature must provide to be run in such cycles."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from worker.kafka.dead_letters import ReasonCode
from worker.kafka.murmur2 import partition_of
from worker.kafka.packing import Batch, Packer
from worker.kafka.records import Outgoing, Record
from worker.postgres.connecting import Connection
from worker.postgres.statement_batch import StatementBatch
from worker.stream.faults import CycleTooLargeError

# A cycle that publishes more than this is made of fewer records: each may cause far more than it says.
PUBLISHED_BYTES_MAX = 64 << 20
# From so many records on for each partition, what they cause makes batches that are worth compressing.
COMPRESSED_FROM_RECORDS = 16


class TakenPartition(Struct, frozen=True):
    """A partition that was just taken.

    `former_lease_until_ms` is when the last lease ended that was lost without an orderly hand-over, on this
    machine's wall clock: often long ago, and then nothing has to be waited for. None: nobody ever lost it.
    """

    epoch: int
    former_lease_until_ms: int | None


class DeadRecord(Struct, frozen=True):
    """A record that goes no further, and why."""

    record: Record
    reason: ReasonCode
    message: str
    order_id: str | None
    merchant: str | None


class Cycle:
    """One transaction under way. What is published here leaves only after its commit."""

    __slots__ = (
        "_packing", "connection", "dead", "epochs", "now_ms", "partitions", "published_bytes", "records", "writes",
    )  # fmt: skip

    def __init__(
        self, connection: Connection, records: list[Record], epochs: Mapping[int, int], now_ms: int, partitions: int
    ) -> None:
        self.connection = connection
        """Already fenced; search_path is the role's schema."""
        self.records = records
        """Of owned partitions, in order per topic and partition; may be empty."""
        self.epochs = epochs
        """Owned partition → epoch."""
        self.now_ms = now_ms
        """Wall clock at the start of this cycle."""
        self.partitions = partitions
        self.writes = StatementBatch()
        """What may wait for the end of the cycle: it goes with the outbox, in one statement."""
        self._packing = Packer(compressed=len(records) >= COMPRESSED_FROM_RECORDS * max(1, len(epochs)))
        self.published_bytes = 0
        self.dead: list[DeadRecord] = []

    def publish(self, out: Outgoing) -> None:
        """Adds the record to the outbox of `out.partition`, whoever owns that."""
        self._packing.add(out)
        self.published_bytes += len(out.value or b"")
        if self.published_bytes > PUBLISHED_BYTES_MAX and len(self.records) > 1:
            raise CycleTooLargeError(f"{len(self.records)} records cause more than {PUBLISHED_BYTES_MAX:,} bytes")

    def dead_letter(
        self, record: Record, reason: ReasonCode, message: str, *, order_id: str | None = None,
        merchant: str | None = None,
    ) -> None:  # fmt: skip
        """To `<topic>-dlt`, same partition, byte for byte; and a row in `dead_letters`.

        The record need not be one of this cycle: a parked fact that gave up comes as it was.
        """
        self.dead.append(DeadRecord(record, reason, message, order_id, merchant))

    @property
    def outgoing(self) -> list[Batch]:
        """What was published so far; what comes later begins new batches."""
        return self._packing.batches()

    def savepoint(self) -> tuple[int, int, int]:
        """Where we are now, for `rollback_to`."""
        return len(self.outgoing), len(self.dead), self.published_bytes

    def rollback_to(self, mark: tuple[int, int, int]) -> None:
        """What was published and dead-lettered since is forgotten, with all that waits to be written."""
        outgoing, dead, self.published_bytes = mark
        self._packing.truncate(outgoing)
        del self.dead[dead:]
        self.writes.clear()

    def clear(self) -> None:
        """What was published and dead-lettered is in the tables: what comes next is another row."""
        self.rollback_to((0, 0, 0))

    def partition_of(self, order_id: str) -> int:
        """The home partition of an order."""
        return partition_of(order_id, self.partitions)


class Handler(Protocol):
    """A feature: reads, decides, writes. Calls come one after another, but for `release`, `reload` and `measure`."""

    @property
    def role(self) -> str:
        """`ledger` or `delivery`: the schema, and the end of the consumer group's name."""
        ...

    @property
    def topics(self) -> tuple[str, ...]:
        """Input topics, without prefix."""
        ...

    @property
    def outputs(self) -> tuple[str, ...]:
        """Topics that this worker alone writes and whose records its tables know; dead letters are not among them."""
        ...

    async def unknown(self, connection: Connection, records: Sequence[Record]) -> Record | None:
        """Of records on `outputs` that we wrote, the first that the tables do not know, if there is one."""
        ...

    async def taken(self, connection: Connection, taken: Mapping[int, TakenPartition]) -> None:
        """Partitions are ours from here on: load what memory needs. Runs in a fenced transaction."""
        ...

    async def release(self, partitions: frozenset[int]) -> None:
        """Before a hand-over or stop: finish what is in flight, begin nothing new for these partitions.

        Runs beside the cycles, so that results can still be booked; after it one more cycle books the last.
        """
        ...

    def dropped(self) -> None:
        """Ownership was lost or a COMMIT failed: forget everything. `taken` comes before the next cycle."""
        ...

    def next_due_ms(self) -> int | None:
        """The earliest wall time at which a cycle without records is wanted."""
        ...

    async def handle(self, cycle: Cycle) -> None:
        """Reads, decides, writes; raises nothing for bad input.

        Memory must not advance here: the transaction may be refused, and its records come in smaller cycles.
        """
        ...

    async def committed(self, cycle: Cycle) -> None:
        """The transaction is durable: memory may advance, sends may begin."""
        ...

    def reload(self) -> None:
        """SIGHUP: a file may have changed."""
        ...

    def clock_set_back(self, seconds: float) -> None:
        """The wall clock was set back by so much: what waits for a time that it had almost reached waits too long."""
        ...

    async def measure(self, connection: Connection, partitions: Collection[int]) -> None:
        """Sets gauges of its own, for what the tables hold of these partitions."""
        ...

    async def close(self) -> None:
        """The last call: closes whatever is still open."""
        ...
