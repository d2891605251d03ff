"""Foresees what the ledger would decide about records: decides them on the current orders, and writes nothing."""

from collections.abc import Sequence

from msgspec import Struct

from worker.domain.decision import Event
from worker.domain.facts import authorizations
from worker.domain.order import Command
from worker.kafka.dead_letters import ReasonCode
from worker.kafka.envelope import Unreadable
from worker.kafka.records import Record
from worker.ledger.connectors import Connectors
from worker.ledger.deciding import Decider, RecordFate, opened_by
from worker.ledger.order_fold import OrderFold
from worker.ledger.reading import Readable, read_fact
from worker.ledger.tables import LedgerTables
from worker.postgres.connecting import Connection
from worker.settings import Settings
from worker.stream.cycle import Cycle


class Foreseen(Struct, frozen=True, kw_only=True):
    """What would become of one record."""

    fate: RecordFate
    order_id: str | None = None
    currency: str | None = None
    reason: ReasonCode | None = None
    """The dead letter's reason code, and its sentence."""
    message: str | None = None
    commands: list[Command] = []
    events: list[Event] = []


async def foresee(connection: Connection, settings: Settings, records: Sequence[Record], now_ms: int) -> list[Foreseen]:
    """One answer per record, as if they all came now, in this order, and a person had asked to judge them again.

    Call inside a snapshot with search_path `ledger`. Needs the connectors file that the ledger worker reads.
    """
    connectors = Connectors(settings)
    cycle = Cycle(connection, [], {}, now_ms, settings.topic_partitions)
    tables = LedgerTables(cycle)
    facts = [read_fact(record) for record in records]
    readable = [one.fact for one in facts if isinstance(one, Readable)]
    folds = await tables.read_unlocked({one.order_id for one in readable}, opened_by(readable))
    owners = await tables.owners_of({payment.payment_id for fact in readable for payment in authorizations(fact)})
    returned = {record.origin: 0 for record in records}
    decider = Decider(cycle, connectors, settings, owners, returned)
    for fold in folds.values():
        await decider.decide_due(fold)
    return [
        Foreseen(fate="dead_lettered", reason=one.reason, message=one.message)
        if isinstance(one, Unreadable)
        else await _foresee_record(cycle, decider, folds[one.fact.order_id], record, one)
        for record, one in zip(records, facts, strict=True)
    ]


async def _foresee_record(cycle: Cycle, decider: Decider, fold: OrderFold, record: Record, one: Readable) -> Foreseen:
    dead, commands, events = len(cycle.dead), len(fold.commands), len(fold.events)
    fate = await decider.decide_record(fold, record, one)
    # Its own dead letter, not one of a fact that waited for it.
    own = next((letter for letter in cycle.dead[dead:] if letter.record is record), None)
    order = fold.order
    return Foreseen(
        fate=fate, order_id=order.order_id, currency=order.currency if order.opened else None,
        reason=own.reason if own else None, message=own.message if own else None,
        commands=fold.commands[commands:],
        events=fold.events[events:],
    )  # fmt: skip
