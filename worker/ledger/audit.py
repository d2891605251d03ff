"""Checks the invariants on the whole database, page by page, in one snapshot: memory does not grow with the ledger."""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from worker.domain.kept import decode_order
from worker.domain.order import Order
from worker.kafka import names
from worker.kafka.murmur2 import partition_of
from worker.kafka.packing import unpack
from worker.ledger.audit_order import Books, Finding, Row, check
from worker.ledger.chain import link
from worker.postgres.connecting import Connection
from worker.postgres.queries import load
from worker.stream import outbox
from worker.stream.outbox import UnreadableRowError

_SQL = load("worker.ledger")
PAGE_ORDERS = 500
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
_WIDE = (
    ("unbalanced_entries", "I1"), ("orphans", "I8"), ("unaccounted_records", "I7"), ("twice_accounted_records", "I7"),
    ("shared_ids", "I5"), ("strange_deliveries", "I5"), ("deliveries_out_of_line", "I6"),
)  # fmt: skip
_OURS = frozenset((names.COMMANDS, names.EVENTS, names.ORDERS))


class Audit:
    """One pass over the database. Call inside a repeatable read transaction with search_path `ledger`."""

    def __init__(
        self, connection: Connection, partitions: int,
        told: Callable[[int], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self._connection = connection
        self._partitions = partitions
        self._told = told
        self.checked: Counter[str] = Counter()
        """How much was looked at, by kind."""

    async def findings(self) -> AsyncIterator[Finding]:
        """Each broken invariant with one sentence, as it is found."""
        for row in await self._connection.fetch(_SQL["missing_guards"]):
            yield row["invariant"], row["sentence"]
        async for one in self._orders():
            yield one
        async for one in self._chains():
            yield one
        for query, invariant in _WIDE:
            for row in await self._connection.fetch(_SQL[query]):
                yield invariant, row["sentence"]
        async for one in self._outbox():
            yield one

    async def _orders(self) -> AsyncIterator[Finding]:
        last = ""
        while rows := await self._connection.fetch(_SQL["page_of_orders"], last, PAGE_ORDERS):
            last = rows[-1]["order_id"]
            for books in await self._books(rows):
                order_id = books.order.order_id
                for invariant, sentence in check(books, partition_of(order_id, self._partitions)):
                    yield invariant, f"order {order_id}: {sentence}"
            self._told(self.checked["orders"])

    async def _books(self, rows: Sequence[Row]) -> list[Books]:
        ids = [row["order_id"] for row in rows]
        payments = await self._grouped("payments_of_orders", ids)
        settlements = await self._grouped("settlements_of_orders", ids)
        commands = await self._grouped("commands_of_orders", ids)
        movements = await self._grouped("movements_of_orders", ids)
        counts = await self._grouped("counts_of_orders", ids)
        self.checked["orders"] += len(rows)
        for name, found in (("payments", payments), ("settlements", settlements), ("commands", commands)):
            self.checked[name] += sum(map(len, found.values()))
        self.checked["facts"] += sum(row["facts"] for row in rows)
        books: list[Books] = []
        for row in rows:
            one, document = row["order_id"], row["document"]
            order = decode_order(document) if document is not None else Order(one)
            books.append(
                Books(order, row, counts[one][0], payments[one], settlements[one], commands[one], movements[one])
            )
        return books

    async def _grouped(self, query: str, ids: list[str]) -> dict[str, list[Any]]:
        found: defaultdict[str, list[Any]] = defaultdict(list)
        for row in await self._connection.fetch(_SQL[query], ids):
            found[row["order_id"]].append(row)
        return found

    async def _chains(self) -> AsyncIterator[Finding]:
        """Walks every chain from its first entry to its last link."""
        for head in await self._connection.fetch(_SQL["all_chains"]):
            if (broken := await self._first_broken(head["chain"], head["place"], head["hash"])) is not None:
                yield "I9", broken

    async def _first_broken(self, chain: int, last: int, last_hash: bytes) -> str | None:
        place, before = 0, b""
        while rows := await self._connection.fetch(_SQL["page_of_chain"], chain, place, PAGE_ENTRIES):
            for row in rows:
                place += 1
                if row["place"] != place:
                    return f"entry {place} of chain {chain} is gone"
                before = link(before, chain, place, tuple(row.values())[1:-1])
                if row["hash"] != before:
                    return f"entry {place} of chain {chain} is not what was written (order {row['order_id']})"
            self.checked["entries"] += len(rows)
        if (place, before) != (last, last_hash):
            return f"chain {chain} has {place} entries, its last link is number {last}"
        return None

    async def _outbox(self) -> AsyncIterator[Finding]:
        """Looks in the outbox for records that would be sent to another partition than their order's."""
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
