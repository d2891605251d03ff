"""The offsets in the tables: how far each input partition was read, and how far Kafka has acknowledged our outputs."""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from worker.kafka.records import UNKNOWN_EPOCH, Place, Position
from worker.postgres.connecting import Connection
from worker.postgres.queries import load

_SQL = load("worker.stream")


async def stored_positions(
    connection: Connection, topics: Iterable[str], partitions: Iterable[int]
) -> dict[Place, int]:
    """Where reading goes on; a partition that no worker has owned yet has no position."""
    return await _read(connection, "read_positions", "next_offset", topics, partitions)


async def published_offsets(
    connection: Connection, topics: Iterable[str], partitions: Iterable[int]
) -> dict[Place, int]:
    """Up to which offsets Kafka has acknowledged our records."""
    return await _read(connection, "read_published", "next_offset", topics, partitions)


async def stored_topic_ids(
    connection: Connection, topics: Iterable[str], partitions: Iterable[int]
) -> dict[Place, UUID]:
    """The id of the topic in which each position lies, where it is known."""
    return await _read(connection, "read_position_ids", "topic_id", topics, partitions)


async def begin_positions(connection: Connection, offsets: Mapping[Place, int], ids: Mapping[str, UUID]) -> None:
    """Stores first positions where there are none yet, and the topics' ids."""
    topics, partitions, at = place_columns(offsets)
    await connection.execute(_SQL["begin_positions"], topics, partitions, at, [ids.get(topic) for topic in topics])


async def stored_epochs(connection: Connection, topics: Iterable[str], partitions: Iterable[int]) -> dict[Place, int]:
    """The epoch of a leader that has all records before each position, where it is known."""
    return await _read(connection, "read_position_epochs", "leader_epoch", topics, partitions)


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


async def _read(
    connection: Connection, query: str, column: str, topics: Iterable[str], partitions: Iterable[int]
) -> dict[Place, Any]:
    rows = await connection.fetch(_SQL[query], list(topics), list(partitions))
    return {(row["topic"], row["partition"]): row[column] for row in rows}
