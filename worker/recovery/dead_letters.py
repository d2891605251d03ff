"""Takes dead letters back from their topics. Whether a person has discarded one since, only the lost database knew."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from worker.kafka.dead_letters import Original, original, replay_of
from worker.kafka.names import COMMANDS
from worker.kafka.records import Origin, Place, Record
from worker.ledger.reading import Readable, read_fact
from worker.postgres.connecting import Connection
from worker.postgres.queries import load
from worker.postgres.values import columns, moment
from worker.recovery.summary import Summary
from worker.stream.stored_records import encode_headers

_SQL = load("worker.recovery")

# No deployment has so many dead letters: a higher number is forged, and must not use up the sequence.
NUMBER_MAX = 10**15


async def take_back(
    connection: Connection, page: Sequence[Record], prefix: str, summary: Summary, role: str
) -> list[Origin]:
    """Inserts the dead letters that are not here yet; returns the places of their original records."""
    found = [_row(dead, was) for dead in page if (was := original(dead, prefix)) is not None]
    if not found:
        return []
    last = {row[:3]: row for row in found}  # the last dead letter of each record
    rows = await connection.fetch(_SQL[f"take_back_{role}_dead_letters"], *columns(list(last.values())))
    summary["dead_letters"] += len(rows)
    return [(row["topic"], row["partition"], row["offset"]) for row in rows]


async def account(
    connection: Connection, dead: Sequence[Origin], records: Counter[Place], ends: dict[Place, int]
) -> None:
    """Counts the original record of each as consumed (I7), unless it was a fact too, or was parked in the backup."""
    if not dead:
        return
    for row in await connection.fetch(_SQL["drop_dead_parked"], *columns(dead)):
        records[row["topic"], row["partition"]] -= row["number"]
    facts = {tuple(row.values()) for row in await connection.fetch(_SQL["facts_among"], *columns(dead))}
    for topic, partition, offset in dead:
        place = topic, partition
        records[place] += (topic, partition, offset) not in facts
        ends[place] = max(offset + 1, ends.get(place, 0))


def last_replayed(page: Sequence[Record]) -> int:
    """The highest dead letter number among these replays, without numbers too high to be real."""
    named = (one for record in page if (one := replay_of(record)) is not None)
    return max((one for one in named if one <= NUMBER_MAX), default=0)


def _row(dead: Record, was: Original) -> tuple[Any, ...]:
    record = was.record
    return (
        *record.origin, _order(record), was.reason, was.message, record.key, record.value,
        encode_headers(record.headers), moment(record.timestamp_ms), moment(dead.timestamp_ms),
    )  # fmt: skip


def _order(record: Record) -> str | None:
    """The order of a dead letter, if it can be read."""
    if record.topic == COMMANDS:
        return (record.key or b"").decode("utf-8", "replace").replace("\0", "") or None
    one = read_fact(record)
    return one.fact.order_id if isinstance(one, Readable) else None
