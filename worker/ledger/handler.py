"""The ledger worker's part of a cycle: read, lock, decide fact by fact, book everything at once."""

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain

from worker import metrics
from worker.domain.facts import authorizations
from worker.kafka import names
from worker.kafka.dead_letters import replay_of
from worker.kafka.envelope import Unreadable
from worker.kafka.records import Origin, Place, Record
from worker.ledger.book import Book
from worker.ledger.connectors import Connectors
from worker.ledger.deciding import Deciding, opened_by
from worker.ledger.folder import Folder
from worker.ledger.known import first_unknown
from worker.ledger.lookout import Lookout
from worker.ledger.publishing import publish
from worker.ledger.reading import Readable, read_fact
from worker.ledger.rows import Rows
from worker.ledger.tally import MisplacedWarning, ReadRecord, Tally
from worker.postgres.connecting import Connection
from worker.postgres.queries import load
from worker.stream.control import Control
from worker.stream.cycle import Cycle, Taken
from worker.stream.faults import Remedy, remedy
from worker.tracing import tracing

# What this many orders write, or fewer, goes with the outbox, in the cycle's last statement.
FEW_ORDERS = 16

_SQL = load("worker.ledger")


class LedgerHandler:
    """Consumes invoices, changes and outcomes. Between cycles it remembers only where to look next."""

    role = "ledger"
    topics = names.READ["ledger"]
    outputs = (names.COMMANDS, names.EVENTS, names.ORDERS)
    unknown = staticmethod(first_unknown)

    def __init__(self, control: Control) -> None:
        self._control = control
        self._settings = control.settings
        self._connectors = Connectors(control.settings)
        self._lookout = Lookout()
        self._next_offsets: dict[Place, int] = {}
        self._misplaced = MisplacedWarning()
        self._tally = Tally()

    async def taken(self, connection: Connection, taken: Mapping[int, Taken]) -> None:
        """The orders of these partitions have to be looked at; for what they wait is said at once."""
        self._lookout.at_once()
        for row in await connection.fetch(_SQL["read_consumed"], list(taken)):
            self._next_offsets[row["topic"], row["partition"]] = row["next_offset"]
        rows = await connection.fetch(_SQL["awaited_connectors"], list(taken))
        self._connectors.alert_of(row["name"] for row in rows)

    async def release(self, partitions: frozenset[int]) -> None:
        """Nothing is ever in flight between two cycles."""

    def dropped(self) -> None:
        self._lookout.at_once()
        self._next_offsets = {}
        self._tally = Tally()

    def reload(self) -> None:
        """SIGHUP: the connectors file may name what orders wait for."""
        if self._connectors.reload():
            self._lookout.at_once()
            self._tally.named_look_ms = None  # what is being looked up goes by the former file
            self._control.wake()

    def clock_set_back(self) -> None:
        """The tables are asked anew; what the database refused may be tried again."""
        self._lookout = Lookout()

    def next_due_ms(self) -> int | None:
        return self._lookout.at_ms

    async def handle(self, cycle: Cycle) -> None:
        """One cycle: every record has a fate, and all of it is written at once."""
        tally = self._tally = Tally(cycle)
        book = Book(cycle)
        facts = await self._read(cycle, book, tally)
        if cycle.now_ms >= self._lookout.at_ms:
            await self._pass_time(cycle, book, tally)
        await self._decide(cycle, book, tally, facts)

    async def _decide(self, cycle: Cycle, book: Book, tally: Tally, facts: Sequence[ReadRecord]) -> None:
        """What the records come to, one after another."""
        folders = await book.open({one.fact.order_id for _, one in facts}, opened_by(one.fact for _, one in facts))
        returned = await book.returning(_replays(cycle.records, folders.values()))
        owners = await self._owners(book, facts, folders)
        deciding = Deciding(cycle, self._connectors, self._settings, owners, returned)
        read_from = {one.fact.order_id: record.partition for record, one in reversed(facts)}
        for order_id, folder in folders.items():
            await deciding.catch_up(folder, read_from[order_id])
        tally.traced += [fact for fact in facts if fact[1].traceparent] if tracing.on else []
        for record, one in facts:
            folder = folders[one.fact.order_id]
            if folder.home != record.partition:
                tally.misplaced[record.topic] += 1
            self._count(tally, record, await deciding.judge(folder, record, one), deciding.duplicates)
        for folder in folders.values():
            deciding.give_up(folder)
        changed = [folder for folder in folders.values() if folder.changed]
        if any(folder.unfinished for folder in changed):
            tally.look_at_ms = cycle.now_ms
        await book.write(self._rows(tally, changed))
        book.account(tally.consumed, deciding.duplicates, tally.next_offsets)
        await book.mark_returned(returned)
        await _publish(cycle, book, changed, flush=len(changed) > FEW_ORDERS)
        tally.count_events(changed)

    async def _pass_time(self, cycle: Cycle, book: Book, tally: Tally) -> None:
        """What no record brings, in a savepoint: an order that the database refuses must not take others along."""
        timed = await self._lookout.due(cycle, book, self._connectors.names, tally)
        if timed and await self._try_timed(cycle, book, tally, timed) is not None:
            for order_id in timed:
                if (problem := await self._try_timed(cycle, book, tally, {order_id})) is not None:
                    self._lookout.leave_alone(order_id, cycle, problem)

    async def _try_timed(self, cycle: Cycle, book: Book, tally: Tally, orders: set[str]) -> Exception | None:
        """Returns why the database refused it; then nothing of it was done."""
        before = cycle.mark()
        await cycle.connection.execute("SAVEPOINT timed")  # the transaction itself is the stream's
        try:
            await self._decide_timed(cycle, book, tally, orders)
        except Exception as problem:
            if remedy(problem) is not Remedy.REFUSED:
                raise
            await cycle.connection.execute("ROLLBACK TO SAVEPOINT timed")
            cycle.back_to(before)  # nothing waited to be written before: these are a cycle's first decisions
            return problem
        await cycle.connection.execute("RELEASE SAVEPOINT timed")
        return None

    async def _decide_timed(self, cycle: Cycle, book: Book, tally: Tally, orders: set[str]) -> None:
        """Every one of them is written, changed or not: when it is to be looked at next has to be said anew.

        Not so one whose facts only the next cycles take: it stays due as it is.
        """
        folders = await book.open(orders, opening=())
        returned = await book.returning(_replays([], folders.values()))
        owners = await self._owners(book, (), folders)
        deciding = Deciding(cycle, self._connectors, self._settings, owners, returned)
        done: list[Folder] = []
        for folder in folders.values():
            await deciding.catch_up(folder, folder.home)
            deciding.give_up(folder)
            stays_due = folder.left_due_ms is not None and folder.left_due_ms <= cycle.now_ms
            if stays_due or folder.unfinished:
                tally.look_at_ms = cycle.now_ms  # more gives up, or can be tried, than one cycle takes
            if folder.changed or not stays_due:
                done.append(folder)
        await book.write(self._rows(tally, done))
        if deciding.duplicates:
            book.account({}, deciding.duplicates, {})
        await book.mark_returned(returned)
        await _publish(cycle, book, done, flush=True)
        tally.count_events(done)

    def _rows(self, tally: Tally, changed: Iterable[Folder]) -> Rows:
        rows = Rows(self._settings)
        for folder in changed:
            unnamed = self._connectors.unnamed(folder.order)
            tally.unnamed.update(unnamed or ())
            rows.add(folder, unnamed)
        return rows

    async def committed(self, cycle: Cycle) -> None:
        """What is durable now is counted and told to the operator."""
        tally, self._tally = self._tally, Tally()
        if tally.cycle is not cycle:
            return  # nothing was decided in it: what an earlier one had decided was refused
        self._lookout.committed(tally)
        for place, offset in tally.next_offsets.items():
            self._next_offsets[place] = max(offset, self._next_offsets.get(place, 0))
        tally.tell(cycle)
        self._connectors.alert_of(tally.unnamed)
        self._misplaced.hear(tally.misplaced)

    async def measure(self, connection: Connection, partitions: Collection[int]) -> None:
        """How many facts wait."""
        rows = await connection.fetch(_SQL["count_parked"], list(partitions))
        metrics.parked_facts.clear()
        for row in rows:
            metrics.parked_facts.labels(waits_for=row["waits_for"]).set(row["number"])

    async def close(self) -> None:
        """Nothing is held open."""

    async def _read(self, cycle: Cycle, book: Book, tally: Tally) -> list[ReadRecord]:
        """The cycle's records as facts; what cannot be read is a dead letter."""
        known = await self._known(cycle, book)
        found: list[ReadRecord] = []
        for record in cycle.records:
            place = (record.topic, record.partition)
            if (*place, record.offset) in known:
                tally.fates[record.topic, "duplicate"] += 1
                continue
            tally.next_offsets[place] = record.offset + 1
            one = read_fact(record)
            if isinstance(one, Unreadable):
                cycle.dead_letter(record, one.reason, one.message)
                self._count(tally, record, "dead_lettered")
                continue
            found.append((record, one))
        return found

    async def _known(self, cycle: Cycle, book: Book) -> set[Origin]:
        """Records that are read again (somebody set positions back) and have their fate already."""
        again = [one for one in cycle.records if self._is_read_again(one)]
        return await book.known_places(again) if again else set()

    def _is_read_again(self, record: Record) -> bool:
        return record.offset < self._next_offsets.get((record.topic, record.partition), 0)

    def _count(self, tally: Tally, record: Record, fate: str, duplicates: Counter[Place] | None = None) -> None:
        """A record has its fate. A repeat that is read again was accounted for when it came first."""
        tally.fates[record.topic, fate] += 1
        if fate == "duplicate" and duplicates is not None and self._is_read_again(record):
            duplicates[record.topic, record.partition] -= 1
        else:
            tally.consumed[record.topic, record.partition] += 1

    async def _owners(self, book: Book, facts: Iterable[ReadRecord], folders: Mapping[str, Folder]) -> dict[str, str]:
        """Which order has which of the payments that these facts, or those that wait for them, would add."""
        named = {payment.payment_id for _, one in facts for payment in authorizations(one.fact)}
        for folder in folders.values():
            for parked in folder.parked:
                if isinstance(parked.read, Readable):
                    named.update(payment.payment_id for payment in authorizations(parked.read.fact))
        return await book.owners_of(named) if named else {}


async def _publish(cycle: Cycle, book: Book, folders: Iterable[Folder], *, flush: bool) -> None:
    """Joins the outbox. `flush`: meanwhile the database is at work on what was gathered."""
    flushing = asyncio.ensure_future(book.flush()) if flush else None
    try:
        await asyncio.sleep(0)  # the statement is on its way
        for folder in folders:
            publish(cycle, folder)
    finally:
        if flushing is not None:
            await flushing


def _replays(records: Iterable[Record], folders: Iterable[Folder]) -> list[tuple[int, Record]]:
    """Records that say they are a dead letter come back, those that had to wait included."""
    waiting = (parked.record for folder in folders for parked in folder.parked)
    return [(one, record) for record in chain(records, waiting) if (one := replay_of(record)) is not None]
