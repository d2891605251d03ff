"""The offsets in the tables: how far each input partition was read, and how far Kafka has acknowledged our outputs."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from uuid import UUID

from worker.kafka.records import UNKNOWN_EPOCH, Place, Position
from worker.postgres.connecting import Connection
from worker.postgres.queries import load

_SQL = load("worker.stream")


class StoredPosition(NamedTuple):
    """A position, and the id of the topic in which it lies, where it is known."""

    at: Position
    topic_id: UUID | None


async def stored_positions(
    connection: Connection, topics: Iterable[str], partitions: Iterable[int]
) -> dict[Place, StoredPosition]:
    """Where reading goes on; a partition that no worker has owned yet has no position."""
    rows = await connection.fetch(_SQL["read_positions"], list(topics), list(partitions))
    return {
        (row["topic"], row["partition"]): StoredPosition(
            Position(row["next_offset"], UNKNOWN_EPOCH if row["leader_epoch"] is None else row["leader_epoch"]),
            row["topic_id"],
        )
        for row in rows
    }


async def stored_offsets(connection: Connection, topics: Iterable[str], partitions: Iterable[int]) -> dict[Place, int]:
    """Only the offsets of the positions."""
    stored = await stored_positions(connection, topics, partitions)
    return {place: one.at.next_offset for place, one in stored.items()}


async def published_offsets(
    connection: Connection, topics: Iterable[str], partitions: Iterable[int]
) -> dict[Place, int]:
    """Up to which offsets Kafka has acknowledged our records."""
    rows = await connection.fetch(_SQL["read_published"], list(topics), list(partitions))
    return {(row["topic"], row["partition"]): row["next_offset"] for row in rows}


async def begin_positions(connection: Connection, offsets: Mapping[Place, int], ids: Mapping[str, UUID]) -> None:
    """Stores first positions where there are none yet, and the topics' ids."""
    topics, partitions, at = place_columns(offsets)
    await connection.execute(_SQL["begin_positions"], topics, partitions, at, [ids.get(topic) for topic in topics])


async def advance_positions(connection: Connection, offsets: Mapping[Place, int]) -> None:
    """Moves positions to these offsets, without a leader's epoch: what is before them is read, or is not to be read."""
    read = {place: Position(offset) for place, offset in offsets.items()}
    await connection.execute(_SQL["advance_positions"], *position_columns(read))


async def note_published(connection: Connection, offsets: Mapping[Place, int]) -> None:
    """Stores up to which offsets the tables know all records; lower than before where a topic was made anew."""
    await connection.execute(_SQL["note_published"], *place_columns(offsets))


def place_columns(offsets: Mapping[Place, int]) -> tuple[list[str], list[int], list[int]]:
    """Offsets as arrays for `unnest`, sorted, so that no two workers deadlock."""
    places = sorted(offsets)
    return [topic for topic, _ in places], [partition for _, partition in places], [offsets[one] for one in places]


def position_columns(read: Mapping[Place, Position]) -> tuple[list[str], list[int], list[int], list[int | None]]:
    """Positions as arrays for `unnest`, sorted, with their leaders' epochs."""
    topics, partitions, offsets = place_columns({place: at.next_offset for place, at in read.items()})
    epochs = (read[place].leader_epoch for place in zip(topics, partitions, strict=True))
    return topics, partitions, offsets, [None if epoch == UNKNOWN_EPOCH else epoch for epoch in epochs]
