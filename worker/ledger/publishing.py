"""What a cycle publishes about one order: commands, events, and its state after the last change."""

import orjson
from msgspec import Raw

from worker.domain.published import command_message, event_message, order_state, timestamp
from worker.kafka import names
from worker.kafka.envelope import write
from worker.kafka.records import Origin, Outgoing
from worker.ledger import journal
from worker.ledger.folder import Decided, Folder
from worker.ledger.journal import Journaled
from worker.stream.cycle import Cycle


def put_into_words(folder: Folder, prefix: str) -> None:
    """Encodes the order's new events, once for the timeline and the topic alike, with their facts."""
    order = folder.order
    folder.words = [
        orjson.dumps(event_message(order, told.event, _source(prefix, told.of.source), told.of.at_ms))
        for told in folder.events
    ]
    telling = {told.of.sequence for told in folder.events} | {asked.of.sequence for asked in folder.commands}
    untold = list(folder.silent)
    for decided in folder.decided:
        untold.append(_journaled(decided))
        if decided.sequence in telling:
            folder.journals[decided.sequence] = journal.encode(untold)
            folder.told, untold = decided.sequence, []


def publish(cycle: Cycle, folder: Folder) -> None:
    """Adds records to the outbox; every id is derived, so that a repeat is the same record."""
    order, before = folder.order, 0
    for asked in folder.commands:
        command, of = asked.command, asked.of
        value = orjson.dumps(command_message(order, command, of.at_ms))
        headers = write(f"command.{command.operation}", command.command_id, timestamp(of.at_ms), of.traceparent)
        headers += _journal(folder, before, of.sequence)
        _out(cycle, folder, names.COMMANDS, value, headers)
        before = of.sequence
    publish_events(cycle, folder)
    if order.opened and folder.decided:
        publish_state(cycle, folder)


def publish_events(cycle: Cycle, folder: Folder) -> None:
    """What happened to the order in this cycle."""
    before = 0
    for told, value in zip(folder.events, folder.words, strict=True):
        of, ce_id = told.of, f"{folder.order.order_id}/{told.event.sequence}"
        headers = write(told.event.type, ce_id, timestamp(of.at_ms)) + _journal(folder, before, of.sequence)
        _out(cycle, folder, names.EVENTS, value, headers)
        before = of.sequence


def publish_state(cycle: Cycle, folder: Folder) -> None:
    """The order as it stands now."""
    order = folder.order
    headers = write("order.state", f"{order.order_id}/v{order.version}", timestamp(order.updated_at_ms))
    _out(cycle, folder, names.ORDERS, orjson.dumps(order_state(order)), headers)


def _out(cycle: Cycle, folder: Folder, topic: str, value: bytes, headers: list[tuple[str, bytes]]) -> None:
    cycle.publish(Outgoing(topic, folder.home, folder.order.order_id.encode(), value, headers))


def _journal(folder: Folder, before: int, fact: int) -> list[tuple[str, bytes]]:
    """The header for the first record that a fact causes."""
    return [(journal.HEADER, folder.journals[fact])] if fact != before else []


def _journaled(one: Decided) -> Journaled:
    return Journaled(one.sequence, one.source, one.traceparent, Raw(one.fact), Raw(one.terms))


def _source(prefix: str, source: Origin | None) -> Origin | None:
    """Where the record was read; None if another record has that place, and this one has a place of its own."""
    return (prefix + source[0], source[1], source[2]) if source and source[2] >= 0 else None
