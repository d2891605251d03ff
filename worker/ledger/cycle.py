"""The ledger's part of one cycle: locks and reads orders, decides fact by fact, writes everything at once."""

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain

from worker.domain.facts import authorizations
from worker.kafka.dead_letters import replay_of
from worker.kafka.envelope import Unreadable
from worker.kafka.records import Place, Record
from worker.ledger.connectors import Connectors
from worker.ledger.deciding import Decider, opened_by
from worker.ledger.order_fold import OrderFold
from worker.ledger.places import PlacedRecord, assign_places
from worker.ledger.publishing import encode_events, publish
from worker.ledger.reading import Readable
from worker.ledger.rows import Rows
from worker.ledger.tables import LedgerTables
from worker.ledger.tally import ReadRecord, Tally
from worker.settings import Settings
from worker.stream.cycle import Cycle
from worker.tracing import tracing

# The writes of up to this many orders go with the outbox, in the cycle's last statement.
FEW_ORDERS = 16


class LedgerCycle:
    """Decides first what is due by time, then the records. Nothing here outlives the cycle."""

    def __init__(self, cycle: Cycle, connectors: Connectors, settings: Settings, reached: Mapping[Place, int]) -> None:
        self.cycle = cycle
        self.connectors = connectors
        self._settings = settings
        self._reached = reached
        """How far each partition was read before: records below that are read again."""
        self.tables = LedgerTables(cycle)
        self.tally = Tally()

    async def decide_timed(self, orders: Collection[str]) -> None:
        """Decides what follows for these orders from passed time, or from a connector that the file names now.

        Every order is written with its next deadline, changed or not. One that leaves facts to later cycles and did not
        change is not written: it stays due.
        """
        folds = await self.tables.lock(orders, opening=())
        decider = await self._decider(folds, [], [])
        done: list[OrderFold] = []
        for fold in folds.values():
            await decider.decide_due(fold)
            decider.expire_parked(fold)
            stays_due = fold.waiting.unread_are_due(self.cycle.now_ms)
            if stays_due or fold.waiting.unfinished:
                self.tally.look_at_ms = self.cycle.now_ms  # more facts expire, or can be tried, than one cycle takes
            if fold.changed or not stays_due:
                done.append(fold)
        self.tally.undecidable |= decider.undecidable
        await self._write(done, decider, flush=True)

    async def decide_records(self) -> None:
        """Decides the cycle's records, one after another."""
        records = await assign_places(self.tables, self.cycle.records, self._is_read_again)
        facts = self._read_facts(records)
        orders = {read.fact.order_id for _, read in facts}
        folds = await self.tables.lock(orders, opened_by(read.fact for _, read in facts))
        decider = await self._decider(folds, facts, [placed.record for placed in records])
        for record, read in facts:
            folds[read.fact.order_id].chain = record.partition  # the order's home may belong to another worker
        for fold in folds.values():
            await decider.decide_due(fold)
        if tracing.on:
            self.tally.traced += [(record, read) for record, read in facts if read.traceparent]
        for record, read in facts:
            fold = folds[read.fact.order_id]
            if fold.home != record.partition:
                self.tally.misplaced[record.topic] += 1
            self._count(record, await decider.decide_record(fold, record, read), decider.duplicates)
        for fold in folds.values():
            decider.expire_parked(fold)
        changed = [fold for fold in folds.values() if fold.changed]
        if any(fold.waiting.unfinished for fold in changed):
            self.tally.look_at_ms = self.cycle.now_ms
        await self._write(changed, decider, flush=len(changed) > FEW_ORDERS)

    def _read_facts(self, records: Iterable[PlacedRecord]) -> list[ReadRecord]:
        """The facts of the records that have no fate yet; a record that cannot be read becomes a dead letter."""
        facts: list[ReadRecord] = []
        for placed in records:
            record, content = placed.record, placed.content
            if placed.known:
                self.tally.fates[record.topic, "duplicate"] += 1
                continue
            before = self.tally.next_offsets.get(record.place, 0)
            self.tally.next_offsets[record.place] = max(before, record.offset + 1)
            if isinstance(content, Unreadable):
                self.cycle.dead_letter(record, content.reason, content.message)
                self._count(record, "dead_lettered")
                continue
            facts.append((record, content))
        return facts

    async def _decider(
        self, folds: Mapping[str, OrderFold], facts: Sequence[ReadRecord], records: Sequence[Record]
    ) -> Decider:
        returned = await self.tables.replayed_dead_letters(_replays(records, folds.values()))
        owners = await self._owners(folds.values(), facts)
        return Decider(self.cycle, self.connectors, self._settings, owners, returned)

    async def _owners(self, folds: Iterable[OrderFold], facts: Iterable[ReadRecord]) -> dict[str, str]:
        """Payment → its order, of the payments that these facts, or those that wait for them, would add."""
        named = {payment.payment_id for _, read in facts for payment in authorizations(read.fact)}
        for fold in folds:
            for parked in fold.waiting.parked:
                if isinstance(parked.read, Readable):
                    named.update(payment.payment_id for payment in authorizations(parked.read.fact))
        return await self.tables.owners_of(named) if named else {}

    async def _write(self, folds: Sequence[OrderFold], decider: Decider, *, flush: bool) -> None:
        """Writes everything about these orders: with `flush` now, else with the cycle's last statement."""
        rows = Rows(self._settings)
        encoded: list[list[bytes]] = []
        for fold in folds:
            unnamed = self.connectors.unnamed(fold.order)
            self.tally.waiting_for_connectors.update((name, fold.order.order_id) for name in unnamed or ())
            encoded.append(encode_events(fold, self._settings.topic_prefix))
            rows.add(fold, encoded[-1], unnamed)
        await self.tables.write(rows)
        self.tables.account(self.tally.consumed, decider.duplicates, self.tally.next_offsets)
        await self.tables.mark_returned(decider.returned)
        flushing = asyncio.ensure_future(self.tables.flush()) if flush else None
        try:
            await asyncio.sleep(0)  # lets the statement go out: the database works while the records are encoded
            for fold, events in zip(folds, encoded, strict=True):
                publish(self.cycle, fold, events)
        finally:
            if flushing is not None:
                await flushing
        self.tally.count_events(folds)

    def _count(self, record: Record, fate: str, duplicates: Counter[Place] | None = None) -> None:
        """Counts a record by its fate. A duplicate below the stored position was counted when it was first read."""
        self.tally.fates[record.topic, fate] += 1
        if fate == "duplicate" and duplicates is not None and self._is_read_again(record):
            duplicates[record.place] -= 1
        else:
            self.tally.consumed[record.place] += 1

    def _is_read_again(self, record: Record) -> bool:
        """Whether it lies before the stored position: positions were set back, so it may have its fate already."""
        return record.offset < self._reached.get(record.place, 0)


def _replays(records: Iterable[Record], folds: Iterable[OrderFold]) -> list[tuple[int, Record]]:
    """The records that replay a dead letter, with its id; parked records included."""
    parked = (one.record for fold in folds for one in fold.waiting.parked)
    return [(letter, record) for record in chain(records, parked) if (letter := replay_of(record)) is not None]
