"""The ledger's part of one cycle: reads, locks, decides fact by fact, books everything at once."""

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain

from worker.domain.facts import authorizations
from worker.kafka.dead_letters import replay_of
from worker.kafka.envelope import Unreadable
from worker.kafka.records import Place, Record
from worker.ledger.book import Book
from worker.ledger.connectors import Connectors
from worker.ledger.deciding import Deciding, opened_by
from worker.ledger.folder import Folder
from worker.ledger.places import Placed, placed
from worker.ledger.publishing import Words, publish, words
from worker.ledger.reading import Readable
from worker.ledger.rows import Rows
from worker.ledger.tally import ReadRecord, Tally
from worker.settings import Settings
from worker.stream.cycle import Cycle
from worker.tracing import tracing

# What up to this many orders write goes with the outbox, in the cycle's last statement.
FEW_ORDERS = 16


class LedgerCycle:
    """Decides first what time has brought, then what the records say; nothing here outlives the cycle."""

    def __init__(self, cycle: Cycle, connectors: Connectors, settings: Settings, reached: Mapping[Place, int]) -> None:
        self.cycle = cycle
        self.connectors = connectors
        self._settings = settings
        self._reached = reached
        """How far each partition was read before: what comes below that is read again."""
        self.book = Book(cycle)
        self.tally = Tally()

    async def decide_timed(self, orders: Collection[str]) -> None:
        """Decides what follows for these orders from time that has passed, or from a connector that is named now.

        Each of them is written, changed or not, with the time of its next look. Only an order whose facts are left to
        later cycles is not: it stays due as it is.
        """
        folders = await self.book.open(orders, opening=())
        deciding = await self._deciding(folders, [], [])
        done: list[Folder] = []
        for folder in folders.values():
            await deciding.catch_up(folder, folder.home)
            deciding.give_up(folder)
            stays_due = folder.waiting.unread_are_due(self.cycle.now_ms)
            if stays_due or folder.waiting.unfinished:
                self.tally.look_at_ms = self.cycle.now_ms  # more give up, or can be tried, than one cycle takes
            if folder.changed or not stays_due:
                done.append(folder)
        await self._write(done, deciding, flush=True)

    async def decide_records(self) -> None:
        """Decides the records, one after another."""
        records = await placed(self.book, self.cycle.records, self._is_read_again)
        facts = self._facts(records)
        folders = await self.book.open({one.fact.order_id for _, one in facts}, opened_by(one.fact for _, one in facts))
        deciding = await self._deciding(folders, facts, [one.record for one in records])
        read_from = {one.fact.order_id: record.partition for record, one in reversed(facts)}
        for order_id, folder in folders.items():
            await deciding.catch_up(folder, read_from[order_id])
        self.tally.traced += [fact for fact in facts if fact[1].traceparent] if tracing.on else []
        for record, one in facts:
            folder = folders[one.fact.order_id]
            if folder.home != record.partition:
                self.tally.misplaced[record.topic] += 1
            self._count(record, await deciding.judge(folder, record, one), deciding.duplicates)
        for folder in folders.values():
            deciding.give_up(folder)
        changed = [folder for folder in folders.values() if folder.changed]
        if any(folder.waiting.unfinished for folder in changed):
            self.tally.look_at_ms = self.cycle.now_ms
        await self._write(changed, deciding, flush=len(changed) > FEW_ORDERS)

    def _facts(self, records: Iterable[Placed]) -> list[ReadRecord]:
        """The facts in the records; a record that cannot be read is a dead letter."""
        found: list[ReadRecord] = []
        for one in records:
            record, says = one.record, one.says
            if one.known:
                self.tally.fates[record.topic, "duplicate"] += 1
                continue
            before = self.tally.next_offsets.get(record.place, 0)
            self.tally.next_offsets[record.place] = max(before, record.offset + 1)
            if isinstance(says, Unreadable):
                self.cycle.dead_letter(record, says.reason, says.message)
                self._count(record, "dead_lettered")
                continue
            found.append((record, says))
        return found

    async def _deciding(
        self, folders: Mapping[str, Folder], facts: Sequence[ReadRecord], records: Sequence[Record]
    ) -> Deciding:
        returned = await self.book.returning(_replays(records, folders.values()))
        owners = await self._owners(folders.values(), facts)
        return Deciding(self.cycle, self.connectors, self._settings, owners, returned)

    async def _owners(self, folders: Iterable[Folder], facts: Iterable[ReadRecord]) -> dict[str, str]:
        """Which order has which of the payments that these facts, or those that wait for them, would add."""
        named = {payment.payment_id for _, one in facts for payment in authorizations(one.fact)}
        for folder in folders:
            for parked in folder.waiting.parked:
                if isinstance(parked.read, Readable):
                    named.update(payment.payment_id for payment in authorizations(parked.read.fact))
        return await self.book.owners_of(named) if named else {}

    async def _write(self, folders: Sequence[Folder], deciding: Deciding, *, flush: bool) -> None:
        """Writes all that became of these orders. `flush`: now, and not with the cycle's last statement."""
        rows = Rows(self._settings)
        telling: list[Words] = []
        for folder in folders:
            unnamed = self.connectors.unnamed(folder.order)
            self.tally.unnamed.update(unnamed or ())
            telling.append(words(folder, self._settings.topic_prefix))
            rows.add(folder, telling[-1].events, unnamed)
        await self.book.write(rows)
        self.book.account(self.tally.consumed, deciding.duplicates, self.tally.next_offsets)
        await self.book.mark_returned(deciding.returned)
        flushing = asyncio.ensure_future(self.book.flush()) if flush else None
        try:
            await asyncio.sleep(0)  # the statement is on its way: meanwhile the database is at work
            for folder, said in zip(folders, telling, strict=True):
                publish(self.cycle, folder, said)
        finally:
            if flushing is not None:
                await flushing
        self.tally.count_events(folders)

    def _count(self, record: Record, fate: str, duplicates: Counter[Place] | None = None) -> None:
        """Counts a record that has its fate. A repeat that is read again was accounted for when it came first."""
        self.tally.fates[record.topic, fate] += 1
        if fate == "duplicate" and duplicates is not None and self._is_read_again(record):
            duplicates[record.place] -= 1
        else:
            self.tally.consumed[record.place] += 1

    def _is_read_again(self, record: Record) -> bool:
        """Whether it lies before the position: then somebody set positions back, and it may have its fate already."""
        return record.offset < self._reached.get(record.place, 0)


def _replays(records: Iterable[Record], folders: Iterable[Folder]) -> list[tuple[int, Record]]:
    """The records that say they replay a dead letter, those that had to wait included."""
    waiting = (parked.record for folder in folders for parked in folder.waiting.parked)
    return [(one, record) for record in chain(records, waiting) if (one := replay_of(record)) is not None]
