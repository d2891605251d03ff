"""Discard: dead letters that nobody needs stay in their table, and nobody is reminded of them any more."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from worker.domain.kept import decode_order
from worker.kafka.dead_letters import ReasonCode
from worker.people import dead_letters
from worker.people.acting import Actor, Refused, record_acts
from worker.people.dead_letters import DeadLetter, Filter
from worker.people.needs import LedgerView, acts_on, is_over
from worker.people.replaying import how_to_decide
from worker.postgres.connecting import Connection
from worker.postgres.queries import load

# Well within the time that one statement may take.
BATCH_MAX = 1_000

_SQL = load("worker.people")


class Discard(Struct, frozen=True):
    """What is discarded, or would be: how many dead letters by reason code; and how many a person decides instead."""

    by_reason: Mapping[str, int]
    decided_instead: int = 0

    @property
    def number(self) -> int:
        return sum(self.by_reason.values())


async def foresee(connection: Connection, wanted: Filter | Sequence[int]) -> Discard:
    """What a discard would do now. `Refused` where somebody named a dead letter that cannot be discarded."""
    reasons, decided_instead = await _plan(connection, wanted)
    return Discard(dict(Counter(reasons.values()).most_common()), decided_instead)


async def discard(connection: Connection, actor: Actor, wanted: Filter | Sequence[int]) -> Discard:
    """Discards those of them that are open. `Refused` where somebody named one that cannot be discarded.

    Each batch is a transaction: a discard that is interrupted may be called again for the rest.
    """
    reasons, decided_instead = await _plan(connection, wanted)
    discarded: Counter[str] = Counter()
    for some in _batches(list(reasons)):
        async with connection.transaction():
            rows = await connection.fetch(_SQL["mark_discarded"], some, actor.name, actor.reason)
            if rows:
                await record_acts(connection, actor, "discard", [(row["id"], row["order_id"], None) for row in rows])
        discarded.update(row["reason"] for row in rows)
    return Discard(dict(discarded.most_common()), decided_instead)


async def refuse_discard(connection: Connection, letter: DeadLetter) -> None:
    """Refuses what was replayed, and a command about which a person can still decide."""
    if letter.status == "replayed":
        raise Refused(f"dead letter {letter.id} was replayed by {letter.decided_by} already")
    if await _undecided(connection, [letter.id]):
        raise Refused(f"dead letter {letter.id} is not discarded but decided: {how_to_decide(letter)}")


async def _plan(connection: Connection, wanted: Filter | Sequence[int]) -> tuple[dict[int, ReasonCode], int]:
    """What may be discarded, with its reason, and how many commands a person decides instead (R39)."""
    if not isinstance(wanted, Filter):
        named = await dead_letters.read(connection, wanted)
        for letter in named:
            await refuse_discard(connection, letter)
        return {letter.id: letter.reason for letter in named if letter.status == "open"}, 0
    found = await dead_letters.find_open(connection, wanted)
    undecided = await _undecided(connection, [one for one, _, _ in found])
    return {one: reason for one, _, reason in found if one not in undecided}, len(undecided)


async def _undecided(connection: Connection, ids: Sequence[int]) -> set[int]:
    """Those of them whose command waits for a decision that can still be made."""
    found = set()
    for some in _batches(ids):
        for row in await connection.fetch(_SQL["undecided_commands"], some):
            order = decode_order(row["document"]) if row["document"] else None
            view = LedgerView(over=is_over(order, row["command_id"]))
            if acts_on(row["state"], row["done"], row["value"], view):
                found.add(row["id"])
    return found


def _batches(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    return (ids[start : start + BATCH_MAX] for start in range(0, len(ids), BATCH_MAX))
