"""What the rules make of the load, played without Kafka and without a database: how much is to be told and written."""

from typing import Any, cast

from asyncpg import Connection

from tests.bench import load
from worker.domain.facts import Fact, OutcomeReported
from worker.domain.order import Order
from worker.domain.terms import Capability, Terms
from worker.kafka.packing import unpacked
from worker.kafka.records import Outgoing, Record
from worker.ledger.order_fold import OrderFold
from worker.ledger.publishing import encode_messages, publish
from worker.ledger.reading import Readable, read_fact
from worker.ledger.rows import Rows
from worker.settings import Settings
from worker.stream.cycle import Cycle

TERMS = Terms(now_ms=1_800_000_000_000, capabilities={load.CONNECTOR: Capability("PARTIAL")})
ORDER = "order-0000000"
NUMBER_BYTES = 8


def events_of_an_order(parcels: int, invoiced: int) -> int:
    """How many events an order in so many parcels causes until so many are invoiced and captured."""
    fold = OrderFold(Order(ORDER), 0, 0)
    facts: list[Fact] = [_fact(one) for one in load.orders([ORDER], parcels, 1)]
    facts += [_fact(one) for one in load.invoices([ORDER], range(invoiced), 1)]
    while facts:
        decision = fold.apply(facts.pop(0), TERMS, None, 0, None)
        facts += [
            OutcomeReported(
                order_id=ORDER, outcome="succeeded", command_id=command.command_id, payment_id=command.payment_id,
                value=command.value, operation_id=command.command_id,
            )
            for command in decision.commands
        ]  # fmt: skip
    return len(fold.events)


def told_of_an_invoice(parcels: int, prefix: str) -> list[Outgoing]:
    """What one invoice of an order in so many parcels sends to Kafka: a command, its events, a state."""
    fold = _invoiced(parcels)
    cycle = Cycle(cast("Connection", None), [], {}, TERMS.now_ms, 1)
    publish(cycle, fold, encode_messages(fold, prefix))
    return unpacked(cycle.outgoing)


def written_of_an_invoice(parcels: int) -> list[int]:
    """How many bytes each row has that one invoice of such an order makes the ledger write."""
    settings, fold = Settings(), _invoiced(parcels)
    rows = Rows(settings)
    rows.add(fold, encode_messages(fold, settings.topic_prefix).events, None)
    tables = (rows.facts, rows.commands, rows.events, rows.entries, rows.orders, rows.payment_balances)
    return [sum(map(_size, one)) for table in tables for one in table]


def _size(value: Any) -> int:
    """A string's or a document's length; what else a row holds are numbers, times and, of an entry, its content."""
    if isinstance(value, tuple):
        return sum(map(_size, value))
    return len(value) if isinstance(value, str | bytes) else NUMBER_BYTES


def _invoiced(parcels: int) -> OrderFold:
    before = OrderFold(Order(ORDER), 0, 0)
    before.apply(_fact(*load.orders([ORDER], parcels, 1)), TERMS, None, 0, None)
    fold = OrderFold(before.order, 0, before.facts)
    fold.apply(_fact(*load.invoices([ORDER], [0], 1)), TERMS, (load.names.INVOICES, 1, 4711), 1, None)
    return fold


def _fact(sent: Outgoing) -> Fact:
    found = read_fact(Record(sent.topic, sent.partition, 0, sent.key, sent.value, sent.headers, 0))
    assert isinstance(found, Readable), found
    return found.fact
