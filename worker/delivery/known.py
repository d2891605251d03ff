"""Which records of the outcomes topic the delivery worker's tables know."""

from collections.abc import Sequence

from worker.delivery.outcomes import DECISION
from worker.kafka.envelope import numbered
from worker.kafka.records import Record
from worker.postgres.connecting import Connection
from worker.postgres.queries import load

_SQL = load("worker.delivery")


async def first_unknown(connection: Connection, records: Sequence[Record]) -> Record | None:
    """The first of these that our tables do not know; a record without an id of ours is not ours."""
    # `(commandId, which of its changes)`, or `(DECISION, its id)`.
    told = [(record, *one) for record in records if (one := numbered(record)) is not None]
    if not told:
        return None
    found = await connection.fetch(
        _SQL["unknown_outcomes"], [of == DECISION for _, of, _ in told], [of for _, of, _ in told],
        [number for _, _, number in told],
    )  # fmt: skip
    return told[min(row["place"] for row in found) - 1][0] if found else None
