"""Where the ledger goes on reading: where the backup had stopped, as far as the topics still reach back."""

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
from worker.stream.offsets import advance_positions, stored_positions

_SQL = load("worker.recovery")


async def go_on_from(settings: Settings, connection: Connection, bounds: Mapping[Place, tuple[int, int]]) -> list[str]:
    """What retention has deleted since the backup need not be read again, if it was read before it was deleted.

    The lost database told Kafka how far it had read: what lies before that had its fate, and left it on the topics.
    Only a fact that waited, or that nothing had followed from yet, left as little there as a repeat: that is returned.
    """
    partitions = range(settings.topic_partitions)
    stored = await stored_positions(connection, LedgerHandler.topics, partitions)
    places = [(topic, partition) for topic in LedgerHandler.topics for partition in partitions]
    gone = {place: bounds[place][0] for place in places if stored.get(place, 0) < bounds[place][0]}
    if not gone:
        return []
    committed = await committed_offsets(settings, names.group(LedgerHandler.role))
    for place, first in gone.items():
        if place in stored and committed.get(place, 0) < first:
            raise RecoveryError(
                f"{settings.topic(place[0])} partition {place[1]} begins at offset {first}, and nobody has read all "
                "before it: its sender must publish again what was deleted unread; to go on without it, set the stored "
                f"position to {first} by hand"
            )
    await advance_positions(connection, gone)
    ranges = [(*place, stored.get(place, 0), first) for place, first in gone.items()]
    return [
        f"{settings.topic(row['topic'])} partition {row['partition']}: of offsets {row['stored']} to "
        f"{row['first'] - 1}, which retention has deleted, {row['number']} left no trace; what was no repeat must be "
        "published again"
        for row in await connection.fetch(_SQL["untraced"], *columns(ranges))
    ]
