"""Looks up records of the ledger's own topics in its tables: commands by id, events by content, states by version."""

from collections.abc import Sequence

from worker.kafka import names
from worker.kafka.envelope import id_of, split_id
from worker.kafka.records import Record
from worker.postgres.connecting import Connection
from worker.postgres.queries import load

_SQL = load("worker.ledger")

Numbered = tuple[Record, str, int]


async def first_unknown(connection: Connection, records: Sequence[Record]) -> Record | None:
    """The first of these records that our tables do not know; records without an id of ours are passed over."""
    commands = [record for record in records if record.topic == names.COMMANDS]
    events = [(record, *one) for record in records if record.topic == names.EVENTS and (one := split_id(record))]
    states = [(record, *one) for record in records if record.topic == names.ORDERS and (one := split_id(record, "/v"))]
    missing: set[int] = set()
    if commands:
        orders = [(record.key or b"").decode("utf-8", "replace") for record in commands]
        found = await connection.fetch(_SQL["unknown_commands"], orders, [id_of(record) for record in commands])
        missing |= {id(commands[row["place"] - 1]) for row in found}
    if events:
        values = [record.value or b"" for record, _, _ in events]
        found = await connection.fetch(_SQL["unknown_events"], *_columns(events), values)
        missing |= {id(events[row["place"] - 1][0]) for row in found}
    if states:
        found = await connection.fetch(_SQL["unknown_states"], *_columns(states))
        missing |= {id(states[row["place"] - 1][0]) for row in found}
    return next((record for record in records if id(record) in missing), None)


def _columns(found: Sequence[Numbered]) -> tuple[list[str], list[int]]:
    return [order_id for _, order_id, _ in found], [number for _, _, number in found]
