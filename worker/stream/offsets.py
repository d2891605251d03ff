"""The offsets that the tables keep: how far partitions were read, and how far Kafka has what we wrote to them."""

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
    """Where reading goes on; a partition that no worker has owned yet has none."""
    return await _kept(connection, "read_positions", "next_offset", topics, partitions)


async def published_offsets(
    connection: Connection, topics: Iterable[str], partitions: Iterable[int]
) -> dict[Place, int]:
    """Up to where Kafka has acknowledged what we wrote."""
    return await _kept(connection, "read_published", "next_offset", topics, partitions)


async def stored_ids(connection: Connection, topics: Iterable[str], partitions: Iterable[int]) -> dict[Place, UUID]:
    """In which topic of its name a position lies; none where that was never known."""
    return await _kept(connection, "read_position_ids", "topic_id", topics, partitions)


async def begin_positions(connection: Connection, offsets: Mapping[Place, int], ids: Mapping[str, UUID]) -> None:
    """Reading begins at these offsets, where it has not begun yet, and goes on in these topics."""
    topics, partitions, at = place_columns(offsets)
    await connection.execute(_SQL["begin_positions"], topics, partitions, at, [ids.get(topic) for topic in topics])


async def stored_epochs(connection: Connection, topics: Iterable[str], partitions: Iterable[int]) -> dict[Place, int]:
    """Which leader is known to have all that stands before a position; none where that was never known."""
    return await _kept(connection, "read_position_epochs", "leader_epoch", topics, partitions)


async def advance_positions(connection: Connection, offsets: Mapping[Place, int]) -> None:
    """Everything before these offsets was read, or is not to be read; who leads there is not known."""
    read = {place: Position(offset) for place, offset in offsets.items()}
    await connection.execute(_SQL["advance_positions"], *position_columns(read))


async def note_published(connection: Connection, offsets: Mapping[Place, int]) -> None:
    """Everything before these offsets is known to the tables, even where a topic was made anew and ends earlier."""
    await connection.execute(_SQL["note_published"], *place_columns(offsets))


def place_columns(offsets: Mapping[Place, int]) -> tuple[list[str], list[int], list[int]]:
    """Offsets as the arrays that `unnest` takes, sorted, so that no two workers wait for each other in a circle."""
    places = sorted(offsets)
    return [topic for topic, _ in places], [partition for _, partition in places], [offsets[one] for one in places]


def position_columns(read: Mapping[Place, Position]) -> tuple[list[str], list[int], list[int], list[int | None]]:
    """Positions as such arrays, with the leaders that have all before them."""
    topics, partitions, offsets = place_columns({place: at.next_offset for place, at in read.items()})
    epochs = (read[place].leader_epoch for place in zip(topics, partitions, strict=True))
    return topics, partitions, offsets, [None if epoch == UNKNOWN_EPOCH else epoch for epoch in epochs]


async def _kept(
    connection: Connection, query: str, column: str, topics: Iterable[str], partitions: Iterable[int]
) -> dict[Place, Any]:
    rows = await connection.fetch(_SQL[query], list(topics), list(partitions))
    return {(row["topic"], row["partition"]): row[column] for row in rows}
