"""The ledger's part: folds the facts again that Kafka's records carry; the result must be what Kafka has."""

import contextlib
from collections import Counter
from collections.abc import Iterable, Sequence

import orjson
from aiokafka.errors import OffsetOutOfRangeError

from worker.domain.decision import Decision
from worker.domain.facts import PaymentAutoSettled
from worker.domain.kept import decode_fact, decode_terms
from worker.domain.order import Order, automatic_key
from worker.kafka import names
from worker.kafka.envelope import binary_headers, id_of, is_ours, split_id, type_of
from worker.kafka.range_reader import read_between
from worker.kafka.records import Outgoing, Place, Record
from worker.ledger import journal
from worker.ledger.journal import Journaled
from worker.ledger.known import first_unknown
from worker.ledger.order_fold import OrderFold
from worker.ledger.publishing import encode_events, publish_events, publish_state
from worker.ledger.rows import Rows
from worker.ledger.tables import LedgerTables
from worker.ledger.waiting import Parked
from worker.postgres.queries import load
from worker.postgres.values import columns
from worker.recovery.errors import RecoveryError
from worker.recovery.summary import Summary
from worker.settings import Settings
from worker.stream import outbox
from worker.stream.cycle import Cycle

ORDERS_PER_STEP = 500
_SQL = load("worker.recovery")


class FactRecovery:
    """Takes back the facts in events and commands, one partition after another. Requires the search_path `ledger`."""

    def __init__(self, settings: Settings, cycle: Cycle, summary: Summary) -> None:
        self._settings = settings
        self._cycle = cycle
        self._summary = summary
        self._last_published: dict[str, int] = {}
        self._changed: set[str] = set()
        self.records: Counter[Place] = Counter()
        """How many input records were accounted for again."""
        self.next_offsets: dict[Place, int] = {}

    async def take_back_events(self, page: Sequence[Record]) -> None:
        """Folds the facts in these events; afterwards the tables have each event, byte for byte."""
        ours = [record for record in page if is_ours(record)]
        await self._fold_all(ours)
        for order_id, number in filter(None, map(split_id, ours)):
            self._last_published[order_id] = max(self._last_published.get(order_id, 0), number)
        await self._must_know(ours)

    async def take_back_commands(self, page: Sequence[Record]) -> None:
        """Folds facts whose commands reached Kafka before their events; afterwards the tables have each command."""
        ours = [record for record in page if is_ours(record)]
        for fold in await self._fold_all(ours):
            publish_events(self._cycle, fold, self._encoded_events(fold))
        await self._must_know(ours)
        await self._must_be_the_same(ours)

    async def publish_missing_events(self) -> None:
        """Publishes events that had not reached Kafka, after a partition's events and before its commands."""
        for order_id in self._changed & self._last_published.keys():
            for row in await self._cycle.connection.fetch(
                _SQL["later_events"], order_id, self._last_published[order_id]
            ):
                self._publish_event(order_id, row["message"])
        self._last_published = {}
        await self.flush()

    async def publish_states(self) -> None:
        """Publishes every changed order's state; facts parked for it are tried when a worker starts."""
        changed, self._changed = sorted(self._changed), set()
        for start in range(0, len(changed), ORDERS_PER_STEP):
            some = changed[start : start + ORDERS_PER_STEP]
            for fold in (await LedgerTables(self._cycle).lock(some)).values():
                publish_state(self._cycle, fold)
            await self._cycle.connection.execute(_SQL["try_what_waits"], some)
            await self.flush()

    async def flush(self) -> None:
        """Writes what is to be published to the outbox."""
        self._summary["unpublished"] += await outbox.flush(self._cycle)

    async def account(self) -> None:
        """Counts the records of the folded facts as consumed (I7)."""
        rows = [(*place, self.records[place], offset) for place, offset in sorted(self.next_offsets.items())]
        if rows:
            await self._cycle.connection.execute(_SQL["account_taken_back"], *columns(rows))

    async def _fold_all(self, records: Iterable[Record]) -> list[OrderFold]:
        carried = _carried(records)
        if not carried:
            return []
        await self._must_agree(carried)
        tables = LedgerTables(self._cycle)
        folds = await tables.lock(carried)
        for order_id, facts in carried.items():
            for one in sorted(facts.values(), key=lambda fact: fact.sequence):
                if one.sequence > folds[order_id].facts:
                    await self._fold(folds[order_id], one)
        changed = [fold for fold in folds.values() if fold.decided]
        rows = Rows(self._settings)
        for fold in changed:
            rows.add(fold, self._encoded_events(fold), _awaited(fold.order))
        await tables.write(rows)
        await tables.flush()
        self._changed |= {fold.order.order_id for fold in changed}
        return changed

    def _encoded_events(self, fold: OrderFold) -> list[bytes]:
        return encode_events(fold, self._settings.topic_prefix)

    async def _fold(self, fold: OrderFold, one: Journaled) -> None:
        """Folds one fact as it was applied, right after the order's last one."""
        order_id = fold.order.order_id
        if one.sequence != fold.facts + 1:
            raise RecoveryError(
                f"order {order_id}: facts {fold.facts + 1} to {one.sequence - 1} are missing: they are not in this "
                "database, and the events topic no longer has them. Restore a newer backup, then recover again"
            )
        fact, terms = decode_fact(one.fact), decode_terms(one.terms)
        decision = fold.apply(fact, terms, one.source, one.traceparent)
        if decision.fate not in ("applied", "refused"):
            raise RecoveryError(
                f"order {order_id}: fact {one.sequence} was applied by another version of this program; this version "
                f"says {decision.fate}. Recover with the version that ran before the restore"
            )
        self._summary["facts"] += 1
        waited = self._drop_waiting(fold, one, decision)
        if one.source is not None:
            topic, partition, offset = one.source
            self.records[topic, partition] += not waited
            self.next_offsets[topic, partition] = max(offset + 1, self.next_offsets.get((topic, partition), 0))
        if decision.keeps_record and isinstance(fact, PaymentAutoSettled):
            await self._hold(fold, one, fact, waited)

    def _drop_waiting(self, fold: OrderFold, one: Journaled, decision: Decision) -> Parked | None:
        """Removes parked facts that waited for this fact, or that are this fact; returns the latter."""
        waiting = fold.waiting
        for payment_id, settle_id, _ in decision.judged:
            for parked in waiting.held(automatic_key(payment_id, settle_id)):
                waiting.drop(parked)
        for parked in waiting.parked:
            if parked.subject is None and parked.record.origin == one.source:
                waiting.drop(parked)
                return parked
        return None

    async def _hold(self, fold: OrderFold, one: Journaled, fact: PaymentAutoSettled, waited: Parked | None) -> None:
        """Keeps the record of an automatic settlement that is judged later, if its topic still has it."""
        record = waited.record if waited else await self._read(one)
        if record is not None:
            fold.waiting.hold(record, automatic_key(fact.payment_id, fact.settle_id))

    async def _read(self, one: Journaled) -> Record | None:
        assert one.source is not None
        topic, partition, offset = one.source
        with contextlib.suppress(OffsetOutOfRangeError):
            async for page in read_between(self._settings, {(topic, partition): (offset, offset + 1)}):
                return next((record for record in page if record.offset == offset), None)
        return None

    async def _must_agree(self, carried: dict[str, dict[int, Journaled]]) -> None:
        """Facts that both have must be equal; else a worker has decided on this database since it was restored."""
        facts = [
            (order_id, one.sequence, bytes(one.fact), bytes(one.terms))
            for order_id, mine in carried.items()
            for one in mine.values()
        ]
        row = await self._cycle.connection.fetchrow(_SQL["differing_facts"], *columns(facts))
        if row is not None:
            raise RecoveryError(
                f"order {row['order_id']}: fact {row['sequence']} in this database differs from the one in Kafka: a "
                "worker has decided on this database since it was restored or copied. Restore the backup again, and "
                "recover before any worker starts"
            )

    async def _must_know(self, records: Sequence[Record]) -> None:
        if (unknown := await first_unknown(self._cycle.connection, records)) is not None:
            raise RecoveryError(
                f"{self._settings.topic(unknown.topic)} partition {unknown.partition} offset {unknown.offset}: record "
                f"{id_of(unknown)} follows from no fact in this database or on the topics. Restore a newer backup, or "
                "recover with the version of this program that wrote the record"
            )

    async def _must_be_the_same(self, records: Sequence[Record]) -> None:
        """Amount, sequence and ids of every command must be those with which connectors were asked."""
        commands = [
            (data["orderId"], data["commandId"], data["requestId"], data["paymentId"], data["sequence"],
             type_of(record).removeprefix("command."), data["value"])
            for record in records for data in [orjson.loads(record.value or b"{}")]
        ]  # fmt: skip
        if not commands:
            return
        differs = await self._cycle.connection.fetchval(_SQL["differing_commands"], *columns(commands))
        if differs is not None:
            raise RecoveryError(
                f"command {differs} in this database differs from the one in Kafka: a person must look at its order"
            )

    def _publish_event(self, order_id: str, message: bytes) -> None:
        event = orjson.loads(message)
        headers = binary_headers(event["type"], f"{order_id}/{event['sequence']}", event["at"])
        home = self._cycle.partition_of(order_id)
        self._cycle.publish(Outgoing(names.EVENTS, home, order_id.encode(), message, headers))


def _carried(records: Iterable[Record]) -> dict[str, dict[int, Journaled]]:
    """The facts in these records: order → sequence → fact."""
    facts: dict[str, dict[int, Journaled]] = {}
    for record in records:
        for name, content in record.headers:
            if name == journal.HEADER and content is not None:
                mine = facts.setdefault((record.key or b"").decode(), {})
                mine.update((one.sequence, one) for one in journal.decode(content))
    return facts


def _awaited(order: Order) -> list[str] | None:
    """The connectors that an order waits for; a worker checks at its start whether the file names them."""
    return sorted({payment.connector for payment in order.undecided}) if order.awaits_connectors else None
