"""Finds out whether the database is older than Kafka: whether our topics hold records of ours that it does not know.

A worker commits each record, and the state that the record describes, before it publishes it. So the tables know every
record on our output topics, also one that was published twice, late, or by a worker that has died since. A record that
they do not know was decided by a later state of this database: this one was restored from a backup, or a standby took
over before it had everything. Going on would decide the same facts again, perhaps differently, and pay twice.
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
    """The database is older than Kafka: nothing may be decided or sent until `settlement recover` has run."""

    def __init__(self, topic: str, partition: int, stored: int, unknown: int, end: int) -> None:
        super().__init__(
            f"{topic} partition {partition}: this database is older than Kafka. It knows what was published up to "
            f"offset {stored}, Kafka holds records of ours up to {end}, and the database does not know the one at "
            f"{unknown}. Nothing is decided or sent until `settlement recover` has taken back what the topics know"
        )


def unverified_ranges(bounds: Bounds, published: Mapping[Place, int]) -> dict[Place, tuple[int, int]]:
    """Returns the offsets of each partition whose records have to be looked up in the tables.

    A topic that ends before what we published was made anew: all of its records are looked up.
    """
    ranges = {}
    for place, (first, end) in bounds.items():
        stored = published.get(place, 0)
        ranges[place] = (max(first, stored) if stored <= end else first, end)
    return ranges


async def verify_database_age(
    connection: Connection, handler: Handler, settings: Settings, bounds: Bounds, partitions: Iterable[int]
) -> dict[Place, int]:
    """Returns the ends of our output partitions; raises `DatabaseBehindError` if a record before them is unknown.

    Reads nothing where the stored offsets are the ends, as after every orderly stop.
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
