"""Replays dead letters: publishes the record to its original topic again, and the ledger judges it again, once."""

import asyncio
import time
from collections.abc import Callable, Sequence

import msgspec
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from msgspec import Struct

from worker.kafka import topics
from worker.kafka.dead_letters import REPLAY_HEADER
from worker.kafka.envelope import VALUE_BYTES_MAX
from worker.kafka.records import Outgoing, Record
from worker.kafka.sink import Sink
from worker.people.acting import Actor, Refused, record_acts
from worker.people.dead_letters import REPLAYED_TOPICS, DeadLetter, Filter, Wanted, find_open, read
from worker.postgres.connecting import Connection
from worker.postgres.queries import load

BATCH_MAX = 500
BATCHES_PER_SECOND = 10
_TOO_LARGE = f"dead letter {{}} would be refused again, at most {VALUE_BYTES_MAX} bytes are read: discard it"
_TOO_LARGE_FOR_TOPIC = "dead letter {} is larger than its topic takes: raise the topic's {}, or discard it"

_SQL = load("worker.people")


class Plan(Struct, frozen=True):
    """What a replay would send: ids in order, how many of the match are decided instead (R39) or were replayed."""

    ids: list[int]
    decided_instead: int = 0
    replayed_before: int = 0


class Replayed(Struct):
    """How many were published, and how many were skipped as too large to be read."""

    sent: int = 0
    too_large: int = 0


async def plan(connection: Connection, wanted: Wanted) -> Plan:
    """What a replay of these would send now; `Refused` if one was named that cannot be replayed."""
    if isinstance(wanted, Filter):
        found = await find_open(connection, wanted)
        ids = [one for one, topic, _ in found if topic in REPLAYED_TOPICS]
        return Plan(ids, len(found) - len(ids))
    named = await read(connection, list(wanted))
    for letter in named:
        refuse_replay(letter)
    ids = [letter.id for letter in named if letter.status == "open"]
    return Plan(ids, replayed_before=len(named) - len(ids))


def refuse_replay(letter: DeadLetter) -> None:
    """Raises `Refused` for a command or an outcome, about which a person decides instead, and for a discarded one."""
    if not letter.is_replayable:
        raise Refused(f"dead letter {letter.id} is not replayed but decided: {letter.how_to_decide()}")
    if letter.status == "discarded":
        raise Refused(
            f"dead letter {letter.id} was discarded by {letter.decided_by} and stays so: publish the fact anew"
        )


async def records_to_send(connection: Connection, ids: Sequence[int], edited: bytes | None = None) -> list[Record]:
    """The records as the ledger would read them, to foresee what it would decide."""
    found: list[Record] = []
    for letter in await read(connection, ids):
        sent = _outgoing(letter, edited)
        found.append(msgspec.structs.replace(letter.record, value=sent.value, headers=sent.headers))
    return found


async def replay(
    connection: Connection, sink: Sink, actor: Actor, ids: Sequence[int], *, edited: bytes | None = None,
    per_second: float | None = None, on_progress: Callable[[int], None] = lambda _: None,
) -> Replayed:  # fmt: skip
    """Publishes what is open of these, in order. `edited`: the value sent instead of one dead letter's.

    It may be stopped at any moment and called again: what was published and not marked yet is marked by the ledger
    as it comes back, and a second copy of it is an ordinary repeat.
    """
    if edited is not None and len(ids) != 1:
        raise Refused("an edited value replaces one dead letter's: name that one")
    size = BATCH_MAX if per_second is None else max(1, round(min(BATCH_MAX, per_second / BATCHES_PER_SECOND)))
    began, done = time.monotonic(), Replayed()
    for start in range(0, len(ids), size):
        found = [one for one in await read(connection, ids[start : start + size]) if one.status == "open"]
        batch = [one for one in found if _fits(one, edited)]
        if found and len(ids) == 1 and not batch:
            raise Refused(_TOO_LARGE.format(found[0].id))
        if batch:
            await _replay(connection, sink, actor, batch, edited)
        done.sent += len(batch)
        done.too_large += len(found) - len(batch)
        on_progress(min(start + size, len(ids)))
        if per_second is not None and start + size < len(ids):
            await asyncio.sleep(max(0.0, began + done.sent / per_second - time.monotonic()))
    return done


async def _replay(
    connection: Connection, sink: Sink, actor: Actor, batch: list[DeadLetter], edited: bytes | None
) -> None:
    """Records the act, publishes, then marks: so whatever is published, it is known who asked for it."""
    await record_acts(connection, actor, "replay", [(one.id, one.order_id, edited) for one in batch])
    await _publish(sink, batch, edited)
    await connection.execute(_SQL["mark_replayed"], [one.id for one in batch], actor.name, actor.reason)


async def _publish(sink: Sink, batch: Sequence[DeadLetter], edited: bytes | None) -> None:
    """Publishes a batch; if Kafka refuses it as a whole, publishes each alone to find the one at fault."""
    try:
        await sink.publish([_outgoing(letter, edited) for letter in batch])
    except KafkaError as problem:
        if len(batch) > 1:
            await sink.renew()
            for one in batch:
                await _publish(sink, [one], edited)
        elif isinstance(problem, MessageSizeTooLargeError):
            raise Refused(_TOO_LARGE_FOR_TOPIC.format(batch[0].id, topics.LARGEST)) from None
        else:
            raise


def _fits(letter: DeadLetter, edited: bytes | None) -> bool:
    return len((letter.record.value if edited is None else edited) or b"") <= VALUE_BYTES_MAX


def _outgoing(letter: DeadLetter, edited: bytes | None) -> Outgoing:
    """The record as it was, with the header that names its dead letter; an earlier such header is replaced."""
    record = letter.record
    value = record.value if edited is None else edited
    headers = [one for one in record.headers if one[0] != REPLAY_HEADER]
    return Outgoing(
        record.topic, record.partition, record.key, value, [*headers, (REPLAY_HEADER, str(letter.id).encode())]
    )
