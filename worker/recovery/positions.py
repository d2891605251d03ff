"""Sets where the ledger goes on reading: where the backup had stopped, or where the topics begin now."""

from collections.abc import Mapping

from worker.kafka import names
from worker.kafka.lag import committed_offsets
from worker.kafka.records import Place
from worker.ledger.handler import LedgerHandler
from worker.postgres.connecting import Connection
from worker.postgres.queries import load
from worker.postgres.values import columns
from worker.recovery.errors import RecoveryError
from worker.settings import Settings
from worker.stream.offsets import advance_positions, stored_offsets

_SQL = load("worker.recovery")


async def go_on_from(settings: Settings, connection: Connection, bounds: Mapping[Place, tuple[int, int]]) -> list[str]:
    """Skips records that retention has deleted since the backup, if they were read before; returns warnings.

    The offsets committed to Kafka show how far the lost database had read. What those records caused is on the output
    topics, except for facts that were parked or had no effect yet: they look like repeats, so the warnings count both.
    """
    partitions = range(settings.topic_partitions)
    stored = await stored_offsets(connection, LedgerHandler.topics, partitions)
    places = [(topic, partition) for topic in LedgerHandler.topics for partition in partitions]
    gone = {place: bounds[place][0] for place in places if stored.get(place, 0) < bounds[place][0]}
    if not gone:
        return []
    committed = await committed_offsets(settings, names.group(LedgerHandler.role))
    for place, first in gone.items():
        if place in stored and committed.get(place, 0) < first:
            raise RecoveryError(
                f"{settings.topic(place[0])} partition {place[1]} begins at offset {first}: retention has deleted "
                "records before it that no worker had read. Their sender must publish them again; to go on, set the "
                f"stored position to {first} by hand, then recover again"
            )
    await advance_positions(connection, gone)
    ranges = [(*place, stored.get(place, 0), first) for place, first in gone.items()]
    return [
        f"{settings.topic(row['topic'])} partition {row['partition']}: retention has deleted offsets {row['stored']} "
        f"to {row['first'] - 1}, and {row['number']} of these records left no trace; their sender must publish them "
        "again, unless they were repeats"
        for row in await connection.fetch(_SQL["untraced"], *columns(ranges))
    ]
