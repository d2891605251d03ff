"""One cycle, which is one transaction, and the interface of the handlers that cycles call."""

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

# A cycle that publishes more is retried with fewer records: each may cause far more bytes than it has.
PUBLISHED_BYTES_MAX = 64 << 20
# From so many records per partition on, the batches that they cause are worth compressing.
COMPRESSED_FROM_RECORDS = 16


class TakenPartition(Struct, frozen=True):
    """A partition that was just taken over.

    `former_lease_until_ms`: when the last lease that was lost without a hand-over ended, on this machine's wall clock;
    often long ago. None: no lease was ever lost.
    """

    epoch: int
    former_lease_until_ms: int | None


class DeadRecord(Struct, frozen=True):
    """A record that becomes a dead letter, and why."""

    record: Record
    reason: ReasonCode
    message: str
    order_id: str | None
    merchant: str | None


class Cycle:
    """One transaction under way. What it publishes goes to Kafka only after its commit."""

    __slots__ = (
        "_packing", "connection", "dead", "epochs", "now_ms", "partitions", "published_bytes", "records", "writes",
    )  # fmt: skip

    def __init__(
        self, connection: Connection, records: list[Record], epochs: Mapping[int, int], now_ms: int, partitions: int
    ) -> None:
        self.connection = connection
        """Its transaction is fenced; search_path is the role's schema."""
        self.records = records
        """From owned partitions, in order within each topic and partition; may be empty."""
        self.epochs = epochs
        """Owned partition → epoch."""
        self.now_ms = now_ms
        """Wall clock at the start of this cycle."""
        self.partitions = partitions
        self.writes = StatementBatch()
        """Statements that may wait for the end of the cycle: they run together with the outbox's, in one round trip."""
        self._packing = Packer(compressed=len(records) >= COMPRESSED_FROM_RECORDS * max(1, len(epochs)))
        self.published_bytes = 0
        self.dead: list[DeadRecord] = []

    def publish(self, out: Outgoing) -> None:
        """Adds the record to the outbox of `out.partition`, whoever owns that partition."""
        self._packing.add(out)
        self.published_bytes += len(out.value or b"")
        if self.published_bytes > PUBLISHED_BYTES_MAX and len(self.records) > 1:
            raise CycleTooLargeError(f"{len(self.records)} records cause more than {PUBLISHED_BYTES_MAX:,} bytes")

    def dead_letter(
        self, record: Record, reason: ReasonCode, message: str, *, order_id: str | None = None,
        merchant: str | None = None,
    ) -> None:  # fmt: skip
        """Publishes the record to `<topic>-dlt`, same partition, byte for byte, and inserts a row in `dead_letters`.

        The record may be from an earlier cycle: a parked fact that was given up.
        """
        self.dead.append(DeadRecord(record, reason, message, order_id, merchant))

    @property
    def outgoing(self) -> list[Batch]:
        """The batches so far; records that are published later begin new ones."""
        return self._packing.batches()

    def savepoint(self) -> tuple[int, int, int]:
        """Returns the present state, for `rollback_to`."""
        return len(self.outgoing), len(self.dead), self.published_bytes

    def rollback_to(self, savepoint: tuple[int, int, int]) -> None:
        """Drops what was published and dead-lettered since the savepoint, and all statements in `writes`."""
        outgoing, dead, self.published_bytes = savepoint
        self._packing.truncate(outgoing)
        del self.dead[dead:]
        self.writes.clear()

    def clear(self) -> None:
        """Drops what was published and dead-lettered, once it is in the tables: more makes another outbox row."""
        self.rollback_to((0, 0, 0))

    def partition_of(self, order_id: str) -> int:
        """The home partition of an order."""
        return partition_of(order_id, self.partitions)


class Handler(Protocol):
    """What a worker does with records. Calls never overlap, but for `release`, `reload` and `measure`."""

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
        """Topics that this worker alone writes and whose records its tables know; so without `-dlt` topics."""
        ...

    async def unknown(self, connection: Connection, records: Sequence[Record]) -> Record | None:
        """Returns the first of our records on `outputs` that the tables do not know."""
        ...

    async def taken(self, connection: Connection, taken: Mapping[int, TakenPartition]) -> None:
        """Loads what memory needs of partitions that are ours from now on. Runs in a fenced transaction."""
        ...

    async def release(self, partitions: frozenset[int]) -> None:
        """Finishes what is in flight and begins nothing new for these partitions, before a hand-over or a stop.

        Cycles go on meanwhile, so that results can still be booked; one more cycle afterwards books the last.
        """
        ...

    def dropped(self) -> None:
        """Drops all memory, as ownership was lost or a COMMIT failed. `taken` is called before the next cycle."""
        ...

    def next_due_ms(self) -> int | None:
        """The earliest wall time at which a cycle is wanted even without records."""
        ...

    async def handle(self, cycle: Cycle) -> None:
        """Reads, decides and writes; bad input raises nothing.

        Memory must not advance here: the transaction may be refused, and its records come again in smaller cycles.
        """
        ...

    async def committed(self, cycle: Cycle) -> None:
        """The transaction is durable: advances memory, begins sends."""
        ...

    def reload(self) -> None:
        """Reads the connectors file again, on SIGHUP."""
        ...

    def clock_set_back(self, seconds: float) -> None:
        """The wall clock was set back by so much: what is due at a certain time would wait that much longer."""
        ...

    async def measure(self, connection: Connection, partitions: Collection[int]) -> None:
        """Sets the handler's gauges from what the tables hold of these partitions."""
        ...

    async def close(self) -> None:
        """Closes whatever is still open. The last call."""
        ...
