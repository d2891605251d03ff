"""What a cycle publishes about one order: commands, events, and its state after the last change."""

import orjson
from msgspec import Raw, Struct

from worker.domain.published import command_message, event_message, order_state, timestamp
from worker.kafka import names
from worker.kafka.envelope import write
from worker.kafka.records import Origin, Outgoing
from worker.ledger import journal
from worker.ledger.folder import Decided, Folder
from worker.ledger.journal import Journaled
from worker.stream.cycle import Cycle

Header = tuple[str, bytes]


class Words(Struct):
    """What a cycle says of one order, as far as the tables have it too or hold all that is in it: encoded once."""

    events: list[bytes]
    journals: dict[int, list[Header]]
    """For the first record that a fact causes: the header that carries it, and those before it that caused none."""


def words(folder: Folder, prefix: str) -> Words:
    """Encodes the order's new events and facts; best while the order is at hand."""
    return Words(
        [
            orjson.dumps(event_message(folder.order, told.event, _source(prefix, told.of.source), told.of.at_ms))
            for told in folder.events
        ],
        _journals(folder),
    )


def publish(cycle: Cycle, folder: Folder, said: Words) -> None:
    """Adds records to the outbox; every id is derived, so that a repeat is the same record."""
    journals = dict(said.journals)
    for asked in folder.commands:
        command, of = asked.command, asked.of
        value = orjson.dumps(command_message(folder.order, command, of.at_ms))
        headers = write(f"command.{command.operation}", command.command_id, timestamp(of.at_ms), of.traceparent)
        headers += journals.pop(of.sequence, [])
        _out(cycle, folder, names.COMMANDS, value, headers)
    publish_events(cycle, folder, said)
    if folder.order.opened and folder.decided:
        publish_state(cycle, folder)


def publish_events(cycle: Cycle, folder: Folder, said: Words) -> None:
    """What happened to the order in this cycle."""
    journals = dict(said.journals)
    for told, value in zip(folder.events, said.events, strict=True):
        of, ce_id = told.of, f"{folder.order.order_id}/{told.event.sequence}"
        headers = write(told.event.type, ce_id, timestamp(of.at_ms))
        headers += journals.pop(of.sequence, [])
        _out(cycle, folder, names.EVENTS, value, headers)


def publish_state(cycle: Cycle, folder: Folder) -> None:
    """The order as it stands now."""
    order = folder.order
    headers = write("order.state", f"{order.order_id}/v{order.version}", timestamp(order.updated_at_ms))
    _out(cycle, folder, names.ORDERS, orjson.dumps(order_state(order)), headers)


def _out(cycle: Cycle, folder: Folder, topic: str, value: bytes, headers: list[Header]) -> None:
    cycle.publish(Outgoing(topic, folder.home, folder.order.order_id.encode(), value, headers))


def _journals(folder: Folder) -> dict[int, list[Header]]:
    telling = {asked.of.sequence for asked in folder.commands} | {told.of.sequence for told in folder.events}
    found: dict[int, list[Header]] = {}
    untold = list(folder.silent)
    for decided in folder.decided:
        untold.append(_journaled(decided))
        if decided.sequence in telling:
            found[decided.sequence] = [(journal.HEADER, journal.encode(untold))]
            untold = []
    return found


def _journaled(one: Decided) -> Journaled:
    return Journaled(one.sequence, one.source, one.traceparent, Raw(one.fact), Raw(one.terms))


def _source(prefix: str, source: Origin | None) -> Origin | None:
    """Where the record was read; None if another record has that place, and this one has a place of its own."""
    return (prefix + source[0], source[1], source[2]) if source and source[2] >= 0 else None
