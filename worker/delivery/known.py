"""Looks up records of the outcomes topic in the delivery worker's tables."""

from collections.abc import Sequence

from worker.delivery.outcomes import DECISION
from worker.kafka.envelope import split_id
from worker.kafka.records import Record
from worker.postgres.connecting import Connection
from worker.postgres.queries import load

_SQL = load("worker.delivery")


async def first_unknown(connection: Connection, records: Sequence[Record]) -> Record | None:
    """The first of these records that our tables do not know; records with ids that we did not derive are ignored."""
    # The id is (commandId, number of the state change) or (DECISION, number of the decision).
    ours = [(record, *id_parts) for record in records if (id_parts := split_id(record)) is not None]
    if not ours:
        return None
    unknown = await connection.fetch(
        _SQL["unknown_outcomes"], [subject == DECISION for _, subject, _ in ours], [subject for _, subject, _ in ours],
        [number for _, _, number in ours],
    )  # fmt: skip
    return ours[min(row["place"] for row in unknown) - 1][0] if unknown else None
