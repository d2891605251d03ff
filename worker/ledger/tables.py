"""Reads and writes the ledger's tables: a cycle's orders are locked and read at once, and written at once."""

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

from msgspec import Raw

from worker.domain.kept import decode_order, encode
from worker.domain.order import Order
from worker.kafka.envelope import Unreadable
from worker.kafka.records import Origin, Place, Record
from worker.ledger.appending import append
from worker.ledger.chain import link
from worker.ledger.journal import Journaled
from worker.ledger.order_fold import OrderFold
from worker.ledger.reading import Readable
from worker.ledger.rows import Row, Rows
from worker.ledger.waiting import Parked
from worker.postgres.queries import load
from worker.postgres.statement_batch import StatementBatch
from worker.postgres.values import columns, milliseconds_or_none, moment
from worker.stream.cycle import Cycle
from worker.stream.stored_records import stored_record

# How many expired facts are read at once.
EXPIRED_MAX = 100

_SQL = load("worker.ledger")


class LedgerTables:
    """One cycle's access to the ledger's tables."""

    def __init__(self, cycle: Cycle) -> None:
        self._cycle = cycle
        self._connection = cycle.connection
        self._writes = cycle.writes

    async def known_places(self, records: Sequence[tuple[Record, Readable | Unreadable]]) -> dict[Origin, bool]:
        """Which of these places have a fate: True if it is that of the very same record, False if of an earlier one."""
        rows = [
            (*record.origin, record.key, record.value)
            + ((content.fact.order_id, encode(content.fact)) if isinstance(content, Readable) else (None, None))
            for record, content in records
        ]
        known = await self._connection.fetch(_SQL["known_places"], *columns(rows))
        return {(row["topic"], row["partition"], row["offset"]): bool(row["same"]) for row in known}

    async def lowest_place(self, place: Place) -> int:
        """The lowest offset in use there, at most 0."""
        return int(await self._connection.fetchval(_SQL["lowest_place"], *place))

    async def due_orders(self, limit: int, without: Iterable[str]) -> dict[str, int]:
        """Orders whose deadline has come → how many bytes are stored of each."""
        now = moment(self._cycle.now_ms)
        rows = await self._connection.fetch(_SQL["due_orders"], list(self._cycle.epochs), now, limit, list(without))
        return {row["order_id"]: row["bytes"] for row in rows}

    async def named_orders(self, named: list[str], limit: int, without: Iterable[str]) -> dict[str, int]:
        """Orders that waited for connectors that the file now names → how many bytes are stored of each."""
        rows = await self._connection.fetch(_SQL["named_orders"], list(self._cycle.epochs), named, limit, list(without))
        return {row["order_id"]: row["bytes"] for row in rows}

    async def next_wake_ms(self) -> int | None:
        """The next deadline after now."""
        now = moment(self._cycle.now_ms)
        return milliseconds_or_none(await self._connection.fetchval(_SQL["next_wake"], list(self._cycle.epochs), now))

    async def owners_of(self, payments: Iterable[str]) -> dict[str, str]:
        """Payment → its order, of those that are known."""
        rows = await self._connection.fetch(_SQL["owners_of_payments"], list(payments))
        return {row["payment_id"]: row["order_id"] for row in rows}

    async def lock(self, orders: Iterable[str], opening: Container[str] | None = None) -> dict[str, OrderFold]:
        """Locks the orders, then reads them; an unknown one first gets a row that can be locked.

        `opening`: which of them may be opened now. Of the facts parked for another order that is not open, only the
        expired ones are read: an order that never comes may have any number of facts. None: all are read.
        """
        if not (ids := sorted(orders)):
            return {}
        rows = await self._connection.fetch(_SQL["lock_orders"], ids)
        if unknown := sorted({*ids}.difference(row["order_id"] for row in rows)):
            homes = [self._cycle.partition_of(one) for one in unknown]
            await self._connection.execute(_SQL["add_unknown_orders"], unknown, homes)
            rows = await self._connection.fetch(_SQL["lock_orders"], ids)
        return await self._folds(rows, opening)

    async def read_unlocked(self, orders: Iterable[str], opening: Container[str]) -> dict[str, OrderFold]:
        """The orders as they are, without locking them."""
        ids = sorted(orders)
        known = await self._folds(await self._connection.fetch(_SQL["read_orders_unlocked"], ids), opening)
        return {one: known.get(one) or OrderFold(Order(one), self._cycle.partition_of(one), 0) for one in ids}

    async def _folds(self, rows: Sequence[Any], opening: Container[str] | None) -> dict[str, OrderFold]:
        unpublished = await self._unpublished_facts([row["order_id"] for row in rows if row["told"] < row["facts"]])
        folds = {
            row["order_id"]: OrderFold(
                decode_order(row["document"]) if row["document"] else Order(row["order_id"]),
                row["partition"],
                row["facts"],
                unpublished.get(row["order_id"], ()),
                len(row["document"] or b""),
            )
            for row in rows
        }
        if waiting := {row["order_id"]: row["parked"] for row in rows if row["parked"]}:
            await self._read_parked(folds, waiting, opening)
        return folds

    async def _unpublished_facts(self, ids: list[str]) -> dict[str, list[Journaled]]:
        """Facts that no message has carried yet, since nothing followed from them; they are few."""
        found: dict[str, list[Journaled]] = {}
        for row in await self._connection.fetch(_SQL["unpublished_facts"], ids) if ids else ():
            source = (row["topic"], row["partition"], row["offset"]) if row["topic"] is not None else None
            fact = Journaled(row["sequence"], source, None, Raw(row["fact"]), Raw(row["terms"]))
            found.setdefault(row["order_id"], []).append(fact)
        return found

    async def _read_parked(
        self, folds: Mapping[str, OrderFold], waiting: Mapping[str, int], opening: Container[str] | None
    ) -> None:
        opened, unopened = list[str](), list[str]()
        for one in waiting:
            (opened if opening is None or one in opening or folds[one].order.opened else unopened).append(one)
        if opened:
            self._add_parked(folds, await self._connection.fetch(_SQL["read_parked"], opened))
        if not unopened:
            return
        rows = await self._connection.fetch(_SQL["expired_parked"], unopened, moment(self._cycle.now_ms), EXPIRED_MAX)
        self._add_parked(folds, rows)
        for row in await self._connection.fetch(_SQL["next_expiry_of_parked"], unopened, [row["id"] for row in rows]):
            records = folds[row["order_id"]].waiting
            records.add_unread(waiting[row["order_id"]] - len(records.parked), milliseconds_or_none(row["expires_at"]))

    def _add_parked(self, folds: Mapping[str, OrderFold], rows: Iterable[Any]) -> None:
        for row in rows:
            expires_ms = milliseconds_or_none(row["expires_at"])
            parked = Parked(stored_record(row), row["waits_for"], expires_ms, row["id"], row["subject"])
            folds[row["order_id"]].waiting.add_stored(parked)

    async def write(self, rows: Rows) -> None:
        """Writes what the cycle decided; few rows are kept for `flush` or the end of the cycle."""
        await self._write_parked(rows)
        self._writes.add_array(_SQL["update_payments"], rows.payment_balances)
        await append(self._connection, self._writes, {
            "payments": rows.payments, "commands": rows.commands, "facts": rows.facts, "events": rows.events,
            "entries": await self._linked(rows.entries),
        })  # fmt: skip
        self._write("remove_settlements", rows.removed_settlements)
        self._write("write_settlements", rows.settlements)
        self._writes.add_array(_SQL["write_orders"], rows.orders)

    def account(
        self, consumed: Mapping[Place, int], duplicates: Mapping[Place, int], next_offsets: Mapping[Place, int]
    ) -> None:
        """Counts records and the duplicates among them, and advances how far each partition was read."""
        places = sorted({*consumed, *duplicates, *next_offsets})
        self._write("account", [
            (*one, consumed.get(one, 0), duplicates.get(one, 0), next_offsets.get(one, 0)) for one in places
        ])  # fmt: skip

    async def flush(self) -> None:
        """Writes now what is kept for the end of the cycle."""
        await self._writes.execute(self._connection)

    async def replayed_dead_letters(self, named: Sequence[tuple[int, Record]]) -> dict[Origin, int]:
        """Record → the dead letter that it replays, of the records that are to be judged again."""
        rows = [(one, *record.origin) for one, record in named]
        found = await self._connection.fetch(_SQL["replayed_dead_letters"], *columns(rows)) if rows else []
        return {(row["topic"], row["partition"], row["offset"]): row["id"] for row in found}

    async def mark_returned(self, returned: Mapping[Origin, int]) -> None:
        """Marks dead letters as replayed by these records."""
        if returned:
            rows = [(one, partition, offset) for (_, partition, offset), one in returned.items()]
            await self._connection.execute(_SQL["mark_returned"], *columns(rows), moment(self._cycle.now_ms))

    def _write(self, query: str, rows: Sequence[Sequence[Any]]) -> None:
        self._writes.add_rows(_SQL[query], rows)

    async def _write_parked(self, rows: Rows) -> None:
        """Executes one statement after another: a record may leave its old row, and wait in a new one."""
        parked = StatementBatch()
        if rows.unparked:
            await self._connection.execute(_SQL["unpark"], rows.unparked)
        parked.add_rows(_SQL["wait_for_something_else"], rows.moved_parked)
        parked.add_rows(_SQL["park"], rows.parked)
        await parked.execute(self._connection)

    async def _linked(self, unlinked: Sequence[tuple[int, Row]]) -> list[Row]:
        """Numbers each entry in its chain, and links it to the one before."""
        if not unlinked:
            return []
        chains = {chain for chain, _ in unlinked}
        stored = await self._connection.fetch(_SQL["read_chains"], list(chains))
        heads = dict.fromkeys(chains, (0, b"")) | {row["chain"]: (row["place"], row["hash"]) for row in stored}
        entries: list[Row] = []
        for chain, content in unlinked:
            place, before = heads[chain]
            after = link(before, chain, place + 1, content)
            heads[chain] = (place + 1, after)
            entries.append((chain, place + 1, *content, after))
        self._write("write_chains", [(chain, *head) for chain, head in heads.items()])
        return entries
