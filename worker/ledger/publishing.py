"""Publishes what a cycle did to one order: commands, events, and the state after the last change."""

from collections.abc import Sequence

import orjson
from msgspec import Raw

from worker.domain.published import command_message, event_message, order_state, timestamp
from worker.kafka import names
from worker.kafka.envelope import binary_headers
from worker.kafka.records import Origin, Outgoing
from worker.ledger import journal
from worker.ledger.journal import Journaled
from worker.ledger.order_fold import OrderFold
from worker.stream.cycle import Cycle

Header = tuple[str, bytes]


def encode_events(fold: OrderFold, prefix: str) -> list[bytes]:
    """Encodes the order's events of this cycle, as they are stored and published."""
    return [
        orjson.dumps(event_message(fold.order, event, _source(prefix, fact.source), fact.at_ms))
        for fact in fold.decided
        for event in fact.events
    ]


def publish(cycle: Cycle, fold: OrderFold, events: Sequence[bytes]) -> None:
    """Adds the order's messages to the outbox. Their ids are derived, so a repeat is the same record."""
    fact_headers = _fact_headers(fold)
    for_commands = dict(fact_headers)
    for fact in fold.decided:
        for command in fact.commands:
            value = orjson.dumps(command_message(fold.order, command, fact.at_ms))
            headers = binary_headers(
                f"command.{command.operation}", command.command_id, timestamp(fact.at_ms), fact.traceparent
            )
            headers += for_commands.pop(fact.sequence, [])
            _publish(cycle, fold, names.COMMANDS, value, headers)
    _publish_events(cycle, fold, events, fact_headers)
    if fold.order.opened and fold.decided:
        publish_state(cycle, fold)


def publish_events(cycle: Cycle, fold: OrderFold, events: Sequence[bytes]) -> None:
    """Publishes only the order's events of this cycle."""
    _publish_events(cycle, fold, events, _fact_headers(fold))


def publish_state(cycle: Cycle, fold: OrderFold) -> None:
    """Publishes the order's state."""
    order = fold.order
    headers = binary_headers("order.state", f"{order.order_id}/v{order.version}", timestamp(order.updated_at_ms))
    _publish(cycle, fold, names.ORDERS, orjson.dumps(order_state(order)), headers)


def _publish_events(
    cycle: Cycle, fold: OrderFold, events: Sequence[bytes], fact_headers: dict[int, list[Header]]
) -> None:
    caused = [(fact, event) for fact in fold.decided for event in fact.events]
    for (fact, event), value in zip(caused, events, strict=True):
        ce_id = f"{fold.order.order_id}/{event.sequence}"
        headers = binary_headers(event.type, ce_id, timestamp(fact.at_ms))
        headers += fact_headers.pop(fact.sequence, [])
        _publish(cycle, fold, names.EVENTS, value, headers)


def _publish(cycle: Cycle, fold: OrderFold, topic: str, value: bytes, headers: list[Header]) -> None:
    cycle.publish(Outgoing(topic, fold.home, fold.order.order_id.encode(), value, headers))


def _fact_headers(fold: OrderFold) -> dict[int, list[Header]]:
    """Sequence of a fact → the header that carries it, and the facts before it that caused no message."""
    headers: dict[int, list[Header]] = {}
    unpublished = list(fold.unpublished)
    for one in fold.decided:
        unpublished.append(Journaled(one.sequence, one.source, one.traceparent, Raw(one.fact), Raw(one.terms)))
        if one.is_published:
            headers[one.sequence] = [(journal.HEADER, journal.encode(unpublished))]
            unpublished = []
    return headers


def _source(prefix: str, source: Origin | None) -> Origin | None:
    """Where the record was read; None if another record has that offset, and this one only a place of its own."""
    return (prefix + source[0], source[1], source[2]) if source and source[2] >= 0 else None
