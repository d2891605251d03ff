"""Between the tables and the fold: orders are locked and read at once, and everything is written at once."""

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

# How many facts that waited too long are read at once.
GIVEN_UP_MAX = 100

_SQL = load("worker.ledger")


class LedgerTables:
    """One cycle's access to the ledger's tables."""

    def __init__(self, cycle: Cycle) -> None:
        self._cycle = cycle
        self._connection = cycle.connection
        self._writes = cycle.writes

    async def known_places(self, records: Sequence[tuple[Record, Readable | Unreadable]]) -> dict[Origin, bool]:
        """Which of these places have a fate already; true: that of these very records, false: of others before them."""
        rows = [
            (*record.origin, record.key, record.value)
            + ((one.fact.order_id, encode(one.fact)) if isinstance(one, Readable) else (None, None))
            for record, one in records
        ]
        found = await self._connection.fetch(_SQL["known_places"], *columns(rows))
        return {(row["topic"], row["partition"], row["offset"]): bool(row["same"]) for row in found}

    async def lowest_place(self, place: Place) -> int:
        """The lowest place that is in use."""
        return int(await self._connection.fetchval(_SQL["lowest_place"], *place))

    async def due_orders(self, limit: int, without: Iterable[str]) -> list[str]:
        """Orders whose deadline has come."""
        now = moment(self._cycle.now_ms)
        rows = await self._connection.fetch(_SQL["due_orders"], list(self._cycle.epochs), now, limit, list(without))
        return [row["order_id"] for row in rows]

    async def named_orders(self, named: list[str], limit: int, without: Iterable[str]) -> list[str]:
        """Orders that waited for connectors and whose connectors are all named now."""
        rows = await self._connection.fetch(_SQL["named_orders"], list(self._cycle.epochs), named, limit, list(without))
        return [row["order_id"] for row in rows]

    async def next_wake_ms(self) -> int | None:
        """When the next deadline is, beyond those that are due now."""
        now = moment(self._cycle.now_ms)
        return milliseconds_or_none(await self._connection.fetchval(_SQL["next_wake"], list(self._cycle.epochs), now))

    async def owners_of(self, payments: Iterable[str]) -> dict[str, str]:
        """Which order has which of these payments."""
        rows = await self._connection.fetch(_SQL["owners_of_payments"], list(payments))
        return {row["payment_id"]: row["order_id"] for row in rows}

    async def lock(self, orders: Iterable[str], opening: Container[str] | None = None) -> dict[str, OrderFold]:
        """The orders, locked first and read afterwards; one that is new here gets a row to be locked.

        `opening`: which of them may be opened now. Of the facts that wait for other orders that are not open, only
        those that give up are read: an order that never comes may have any number of facts. None: all are read.
        """
        if not (ids := sorted(orders)):
            return {}
        rows = await self._connection.fetch(_SQL["lock_orders"], ids)
        if unknown := sorted({*ids}.difference(row["order_id"] for row in rows)):
            homes = [self._cycle.partition_of(one) for one in unknown]
            await self._connection.execute(_SQL["meet_orders"], unknown, homes)
            rows = await self._connection.fetch(_SQL["lock_orders"], ids)
        return await self._folds(rows, opening)

    async def read_unlocked(self, orders: Iterable[str], opening: Container[str]) -> dict[str, OrderFold]:
        """The orders as they are, unlocked: for a look at what would be decided."""
        ids = sorted(orders)
        found = await self._folds(await self._connection.fetch(_SQL["read_orders_unlocked"], ids), opening)
        return {one: found.get(one) or OrderFold(Order(one), self._cycle.partition_of(one), 0) for one in ids}

    async def _folds(self, rows: Sequence[Any], opening: Container[str] | None) -> dict[str, OrderFold]:
        silent = await self._unpublished_facts([row["order_id"] for row in rows if row["told"] < row["facts"]])
        folds = {
            row["order_id"]: OrderFold(
                decode_order(row["document"]) if row["document"] else Order(row["order_id"]),
                row["partition"],
                row["facts"],
                silent.get(row["order_id"], ()),
                len(row["document"] or b""),
            )
            for row in rows
        }
        if waiting := {row["order_id"]: row["parked"] for row in rows if row["parked"]}:
            await self._read_parked(folds, waiting, opening)
        return folds

    async def _unpublished_facts(self, ids: list[str]) -> dict[str, list[Journaled]]:
        """Facts that no message has carried yet, since nothing followed from them; there are few."""
        found: dict[str, list[Journaled]] = {}
        for row in await self._connection.fetch(_SQL["unpublished_facts"], ids) if ids else ():
            source = (row["topic"], row["partition"], row["offset"]) if row["topic"] is not None else None
            one = Journaled(row["sequence"], source, None, Raw(row["fact"]), Raw(row["terms"]))
            found.setdefault(row["order_id"], []).append(one)
        return found

    async def _read_parked(
        self, folds: Mapping[str, OrderFold], waiting: Mapping[str, int], opening: Container[str] | None
    ) -> None:
        shut, read = list[str](), list[str]()
        for one in waiting:
            (read if opening is None or one in opening or folds[one].order.opened else shut).append(one)
        if read:
            self._add_parked(folds, await self._connection.fetch(_SQL["read_parked"], read))
        if not shut:
            return
        rows = await self._connection.fetch(_SQL["given_up"], shut, moment(self._cycle.now_ms), GIVEN_UP_MAX)
        self._add_parked(folds, rows)
        for row in await self._connection.fetch(_SQL["left_parked"], shut, [row["id"] for row in rows]):
            found = folds[row["order_id"]].waiting
            found.add_unread(waiting[row["order_id"]] - len(found.parked), milliseconds_or_none(row["expires_at"]))

    def _add_parked(self, folds: Mapping[str, OrderFold], rows: Iterable[Any]) -> None:
        for row in rows:
            expires_ms = milliseconds_or_none(row["expires_at"])
            one = Parked(stored_record(row), row["waits_for"], expires_ms, row["id"], row["subject"])
            folds[row["order_id"]].waiting.add_stored(one)

    async def write(self, rows: Rows) -> None:
        """Writes all that the cycle decided; if the rows are few, they wait for `flush` or for the end of the cycle."""
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
        """Counts records and the repeats among them; others may count on the same rows."""
        places = sorted({*consumed, *duplicates, *next_offsets})
        self._write("account", [
            (*one, consumed.get(one, 0), duplicates.get(one, 0), next_offsets.get(one, 0)) for one in places
        ])  # fmt: skip

    async def flush(self) -> None:
        """Writes now what waits for the end of the cycle."""
        await self._writes.execute(self._connection)

    async def replayed_dead_letters(self, named: Sequence[tuple[int, Record]]) -> dict[Origin, int]:
        """Which of these records are to be judged again: the place of each, and the dead letter that it replays."""
        rows = [(one, *record.origin) for one, record in named]
        found = await self._connection.fetch(_SQL["replayed_dead_letters"], *columns(rows)) if rows else []
        return {(row["topic"], row["partition"], row["offset"]): row["id"] for row in found}

    async def mark_returned(self, returned: Mapping[Origin, int]) -> None:
        """Marks these dead letters as come back at these places."""
        if returned:
            rows = [(one, partition, offset) for (_, partition, offset), one in returned.items()]
            await self._connection.execute(_SQL["mark_returned"], *columns(rows), moment(self._cycle.now_ms))

    def _write(self, query: str, rows: Sequence[Sequence[Any]]) -> None:
        self._writes.add_rows(_SQL[query], rows)

    async def _write_parked(self, rows: Rows) -> None:
        """One statement after another: a record may leave its old row and wait in a new one for something else."""
        parked = StatementBatch()
        if rows.unparked:
            await self._connection.execute(_SQL["unpark"], rows.unparked)
        parked.add_rows(_SQL["wait_for_something_else"], rows.moved_parked)
        parked.add_rows(_SQL["park"], rows.parked)
        await parked.execute(self._connection)

    async def _linked(self, unlinked: Sequence[tuple[int, Row]]) -> list[Row]:
        """Links each entry to the one before it in its chain."""
        if not unlinked:
            return []
        chains = {chain for chain, _ in unlinked}
        found = await self._connection.fetch(_SQL["read_chains"], list(chains))
        heads = dict.fromkeys(chains, (0, b"")) | {row["chain"]: (row["place"], row["hash"]) for row in found}
        entries: list[Row] = []
        for chain, content in unlinked:
            place, before = heads[chain]
            after = link(before, chain, place + 1, content)
            heads[chain] = (place + 1, after)
            entries.append((chain, place + 1, *content, after))
        self._write("write_chains", [(chain, *head) for chain, head in heads.items()])
        return entries
