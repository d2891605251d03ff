"""How many messages and rows the load will cause, computed by the rules without Kafka and without a database."""

from typing import Any, cast

from asyncpg import Connection

from tests.bench import load
from worker.domain.facts import Fact, OutcomeReported
from worker.domain.order import Order
from worker.domain.terms import Capability, Terms
from worker.kafka.packing import unpack
from worker.kafka.records import Outgoing, Record
from worker.ledger.order_fold import OrderFold
from worker.ledger.publishing import encode_events, publish
from worker.ledger.reading import Readable, read_fact
from worker.ledger.rows import Rows
from worker.settings import Settings
from worker.stream.cycle import Cycle

TERMS = Terms(now_ms=1_800_000_000_000, capabilities={load.CONNECTOR: Capability("PARTIAL")})
ORDER = "order-0000000"
NUMBER_BYTES = 8


def events_of_an_order(parcels: int, invoiced: int) -> int:
    """How many events an order causes until `invoiced` of its parcels are invoiced and captured."""
    fold = OrderFold(Order(ORDER), 0, 0)
    facts: list[Fact] = [_fact(record) for record in load.orders([ORDER], parcels, 1)]
    facts += [_fact(record) for record in load.invoices([ORDER], range(invoiced), 1)]
    while facts:
        decision = fold.apply(facts.pop(0), TERMS, None, None)
        facts += [
            OutcomeReported(
                order_id=ORDER, outcome="succeeded", command_id=command.command_id, payment_id=command.payment_id,
                value=command.value, operation_id=command.command_id,
            )
            for command in decision.commands
        ]  # fmt: skip
    return len(fold.events)


def messages_of_an_invoice(parcels: int, prefix: str) -> list[Outgoing]:
    """The messages that one invoice of an order causes: a command, its events, a state."""
    fold = _invoiced(parcels)
    cycle = Cycle(cast("Connection", None), [], {}, TERMS.now_ms, 1)
    publish(cycle, fold, encode_events(fold, prefix))
    return unpack(cycle.outgoing)


def row_sizes_of_an_invoice(parcels: int) -> list[int]:
    """The size in bytes of each row that the ledger writes for one invoice of an order."""
    settings, fold = Settings(), _invoiced(parcels)
    rows = Rows(settings)
    rows.add(fold, encode_events(fold, settings.topic_prefix), None)
    tables = (rows.facts, rows.commands, rows.events, rows.entries, rows.orders, rows.payment_balances)
    return [sum(map(_size, row)) for table in tables for row in table]


def _size(value: Any) -> int:
    """The length of a text or a document, the sum over a tuple; every other value is a number or a time."""
    if isinstance(value, tuple):
        return sum(map(_size, value))
    return len(value) if isinstance(value, str | bytes) else NUMBER_BYTES


def _invoiced(parcels: int) -> OrderFold:
    before = OrderFold(Order(ORDER), 0, 0)
    before.apply(_fact(*load.orders([ORDER], parcels, 1)), TERMS, None, None)
    fold = OrderFold(before.order, 0, before.facts)
    fold.apply(_fact(*load.invoices([ORDER], [0], 1)), TERMS, (load.names.INVOICES, 1, 4711), None)
    return fold


def _fact(record: Outgoing) -> Fact:
    result = read_fact(Record(record.topic, record.partition, 0, record.key, record.value, record.headers, 0))
    assert isinstance(result, Readable), result
    return result.fact
