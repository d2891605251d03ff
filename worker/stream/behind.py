"""Whether the database is older than Kafka: records of ours on our own topics that it does not know.

A worker commits what it publishes, and what it speaks of, before it publishes it. So whatever stands on our output
topics is known to the tables, also what was published twice, late, or by a worker that has died since. What they do
not know was decided by a later state of this database: this one was restored from a backup, or a standby took over
before it had everything. Going on from here would decide the same facts again, perhaps otherwise, and pay twice.
"""

from collections.abc import Iterable, Mapping

from worker.kafka.envelope import is_ours
from worker.kafka.range_reader import read_between
from worker.kafka.records import Place
from worker.postgres.connecting import Connection
from worker.settings import Settings
from worker.stream.acknowledged_offsets import report_lost_records
from worker.stream.cycle import Handler
from worker.stream.offsets import published_offsets

Bounds = Mapping[Place, tuple[int, int]]


class DatabaseBehindError(Exception):
    """Nothing is decided or sent before the database has taken back what Kafka knows."""

    def __init__(self, topic: str, partition: int, stored: int, unknown: int, end: int) -> None:
        super().__init__(
            f"{topic} partition {partition}: the database knows of what was published up to offset {stored}, Kafka "
            f"holds records of ours up to {end}, and the one at {unknown} is unknown here: this database is older than "
            "Kafka, and nothing is decided or sent until `settlement recover` has taken back what the topics know"
        )


def unverified_ranges(bounds: Bounds, published: Mapping[Place, int]) -> dict[Place, tuple[int, int]]:
    """Which offsets of each partition have to be looked at.

    A topic that ends before what we published was made anew: all of it is looked at.
    """
    found = {}
    for place, (first, end) in bounds.items():
        stored = published.get(place, 0)
        found[place] = (max(first, stored) if stored <= end else first, end)
    return found


async def verify(
    connection: Connection, handler: Handler, settings: Settings, bounds: Bounds, partitions: Iterable[int]
) -> dict[Place, int]:
    """The ends of our output partitions: everything before them the database knows; else `DatabaseBehindError`.

    Costs nothing where the stored offsets are the ends, as after every orderly stop.
    """
    published = await published_offsets(connection, handler.outputs, partitions)
    for place, (_, end) in bounds.items():
        if end < published.get(place, 0):
            report_lost_records(place, end, published[place])
    async for page in read_between(settings, unverified_ranges(bounds, published)):
        unknown = await handler.unknown(connection, [record for record in page if is_ours(record)])
        if unknown is not None:
            place = unknown.place
            raise DatabaseBehindError(
                settings.topic(place[0]), place[1], published.get(place, 0), unknown.offset, bounds[place][1]
            )
    return {place: end for place, (_, end) in bounds.items()}
