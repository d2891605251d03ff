"""Checks the invariants on the whole database, page by page, in one snapshot: memory does not grow with the ledger."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence

from worker.domain.kept import decode_order
from worker.domain.order import Order
from worker.kafka import names
from worker.kafka.murmur2 import partition_of
from worker.kafka.packing import unpack
from worker.ledger.audit_order import Finding, StoredOrder, check
from worker.ledger.chain import link
from worker.ledger.pages import Row, pages_of_orders, rows_by_order
from worker.postgres.connecting import Connection
from worker.postgres.queries import load
from worker.stream import outbox
from worker.stream.outbox import UnreadableRowError

_SQL = load("worker.ledger")
PAGE_ENTRIES = 5_000
PARTITIONS_MAX = 1_000

INVARIANTS = {
    "I1": "every entry moves one positive amount between two accounts, in its order's currency",
    "I2": "nothing is refunded that was not captured, per payment and per settlement",
    "I3": "nothing is committed above a payment's cap, nothing is negative",
    "I4": "nothing is captured for invoices that was not invoiced (PARTIAL)",
    "I5": "one command: one row, one effect, one end",
    "I6": "each payment's commands are numbered without a gap",
    "I7": "every consumed record is applied, repeated, parked or dead-lettered, once",
    "I8": "balances are the fold of the entries; facts and timelines have no gap",
    "I9": "the ledger is append-only, and its chains are whole",
}
# Queries over the whole database, with the invariant that each of their rows breaks.
_DATABASE_CHECKS = (
    ("unbalanced_entries", "I1"), ("orphans", "I8"), ("unaccounted_records", "I7"), ("twice_accounted_records", "I7"),
    ("shared_ids", "I5"), ("strange_deliveries", "I5"), ("deliveries_out_of_line", "I6"),
)  # fmt: skip
_OURS = frozenset((names.COMMANDS, names.EVENTS, names.ORDERS))


class Audit:
    """One pass over the database. Call inside a repeatable read transaction with search_path `ledger`."""

    def __init__(
        self, connection: Connection, partitions: int,
        on_progress: Callable[[int], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self._connection = connection
        self._partitions = partitions
        self._on_progress = on_progress
        self.checked: Counter[str] = Counter()
        """How many rows were checked, by kind."""

    async def findings(self) -> AsyncIterator[Finding]:
        """Yields each broken invariant and a sentence, as it is found."""
        for row in await self._connection.fetch(_SQL["missing_guards"]):
            yield row["invariant"], row["sentence"]
        async for finding in self._orders():
            yield finding
        async for finding in self._chains():
            yield finding
        for query, invariant in _DATABASE_CHECKS:
            for row in await self._connection.fetch(_SQL[query]):
                yield invariant, row["sentence"]
        async for finding in self._outbox():
            yield finding

    async def _orders(self) -> AsyncIterator[Finding]:
        async for rows in pages_of_orders(self._connection):
            for stored in await self._stored_orders(rows):
                order_id = stored.order.order_id
                for invariant, sentence in check(stored, partition_of(order_id, self._partitions)):
                    yield invariant, f"order {order_id}: {sentence}"
            self._on_progress(self.checked["orders"])

    async def _stored_orders(self, rows: Sequence[Row]) -> list[StoredOrder]:
        ids = [row["order_id"] for row in rows]
        payments, settlements, commands, movements, counts = [
            await rows_by_order(self._connection, f"{name}_of_orders", ids)
            for name in ("payments", "settlements", "commands", "movements", "counts")
        ]
        self.checked["orders"] += len(rows)
        for name, by_order in (("payments", payments), ("settlements", settlements), ("commands", commands)):
            self.checked[name] += sum(map(len, by_order.values()))
        self.checked["facts"] += sum(row["facts"] for row in rows)
        stored: list[StoredOrder] = []
        for row in rows:
            order_id, document = row["order_id"], row["document"]
            stored.append(StoredOrder(
                order=decode_order(document) if document is not None else Order(order_id),
                row=row, counts=counts[order_id][0], payments=payments[order_id], settlements=settlements[order_id],
                commands=commands[order_id], movements=movements[order_id],
            ))  # fmt: skip
        return stored

    async def _chains(self) -> AsyncIterator[Finding]:
        """Checks every chain from its first entry to its last link."""
        for head in await self._connection.fetch(_SQL["all_chains"]):
            if (broken := await self._first_broken(head["chain"], head["place"], head["hash"])) is not None:
                yield "I9", broken

    async def _first_broken(self, chain: int, last: int, last_hash: bytes) -> str | None:
        number, before = 0, b""
        while rows := await self._connection.fetch(_SQL["page_of_chain"], chain, number, PAGE_ENTRIES):
            for row in rows:
                number += 1
                if row["place"] != number:
                    return f"entry {number} of chain {chain} is gone"
                before = link(before, chain, number, tuple(row.values())[1:-1])
                if row["hash"] != before:
                    return f"entry {number} of chain {chain} is not what was written (order {row['order_id']})"
            self.checked["entries"] += len(rows)
        if (number, before) != (last, last_hash):
            return f"chain {chain} has {number} entries, its last link is number {last}"
        return None

    async def _outbox(self) -> AsyncIterator[Finding]:
        """Checks that each record in the outbox would be sent to its order's partition."""
        seen: list[int] = []
        while True:
            try:
                rows = await outbox.left_over(self._connection, range(PARTITIONS_MAX), seen)
            except UnreadableRowError as problem:
                seen.append(problem.row_id)
                yield "I7", str(problem)
                continue
            if not rows:
                return
            seen += [row.id for row in rows]
            for row in rows:
                for one in unpack(row.batches):
                    key = one.key or b""
                    home = partition_of(key.decode(), self._partitions) if one.topic in _OURS else one.partition
                    if not home == one.partition == row.partition:
                        yield "I7", f"outbox row {row.id} would send {key!r} to partition {row.partition}, not {home}"
