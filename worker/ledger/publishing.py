"""What a cycle tells the world about one order: commands, events, and its state after the last change."""

import orjson

from worker.domain.published import command_message, event_message, order_state, timestamp
from worker.kafka import names
from worker.kafka.envelope import write
from worker.kafka.records import Outgoing
from worker.ledger.folder import Folder
from worker.stream.cycle import Cycle


def word(folder: Folder, prefix: str) -> None:
    """Puts the order's new events into the words that the timeline keeps and the topic carries."""
    order = folder.order
    folder.words = [
        orjson.dumps(event_message(order, told.event, _source(prefix, told.source), told.at_ms))
        for told in folder.events
    ]


def publish(cycle: Cycle, folder: Folder) -> None:
    """Joins the outbox; every id is derived, so that a repeat is the same record."""
    order = folder.order
    partition, key = cycle.partition_of(order.order_id), order.order_id.encode()

    def out(topic: str, kind: str, ce_id: str, at: str, value: bytes, trace: str | None = None) -> None:
        cycle.publish(Outgoing(topic, partition, key, value, write(kind, ce_id, at, trace)))

    for asked in folder.commands:
        command = asked.command
        value = orjson.dumps(command_message(order, command, asked.at_ms))
        at = timestamp(asked.at_ms)
        out(names.COMMANDS, f"command.{command.operation}", command.command_id, at, value, asked.traceparent)
    for told, value in zip(folder.events, folder.words, strict=True):
        out(names.EVENTS, told.event.type, f"{order.order_id}/{told.event.sequence}", timestamp(told.at_ms), value)
    if order.opened and folder.decided:
        value = orjson.dumps(order_state(order))
        out(names.ORDERS, "order.state", f"{order.order_id}/v{order.version}", timestamp(order.updated_at_ms), value)


def _source(prefix: str, source: tuple[str, int, int] | None) -> tuple[str, int, int] | None:
    return (prefix + source[0], source[1], source[2]) if source else None
