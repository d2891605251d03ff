"""Discard: dead letters that nobody needs stay in their table, and nobody is reminded of them any more."""

from collections import Counter

from msgspec import Struct, structs

from worker.kafka import names
from worker.kafka.dead_letters import ReasonCode
from worker.people import dead_letters
from worker.people.acting import Actor, Refused, record_acts
from worker.people.dead_letters import DeadLetter, Filter, Wanted
from worker.people.undecided import undecided
from worker.postgres.connecting import Connection
from worker.postgres.queries import load

# Well within the time that one statement may take.
BATCH_MAX = 1_000

_SQL = load("worker.people")


class Discard(Struct, frozen=True):
    """What is discarded, or would be, and how many of the match are decided instead (R39) or were discarded before."""

    letters: dict[int, ReasonCode]
    decided_instead: int = 0
    discarded_before: int = 0

    @property
    def by_reason(self) -> dict[ReasonCode, int]:
        """How many, the most frequent reason first."""
        return dict(Counter(self.letters.values()).most_common())


async def plan(connection: Connection, wanted: Wanted) -> Discard:
    """What a discard of these would do now; `Refused` if one was named that cannot be discarded."""
    if isinstance(wanted, Filter):
        found = await dead_letters.find_open(connection, wanted)
        kept = await undecided(connection, [one for one, topic, _ in found if topic == names.COMMANDS])
        return Discard({one: reason for one, _, reason in found if one not in kept}, len(kept))
    named = await dead_letters.read(connection, wanted)
    for letter in named:
        await refuse_discard(connection, letter)
    letters = {letter.id: letter.reason for letter in named if letter.status == "open"}
    return Discard(letters, discarded_before=len(named) - len(letters))


async def discard(connection: Connection, actor: Actor, wanted: Wanted) -> Discard:
    """Discards those of them that are open; `Refused` if one was named that cannot be discarded.

    Each batch is a transaction: a discard that is interrupted may be called again for the rest.
    """
    planned = await plan(connection, wanted)
    ids, discarded = list(planned.letters), dict[int, ReasonCode]()
    for start in range(0, len(ids), BATCH_MAX):
        batch = ids[start : start + BATCH_MAX]
        async with connection.transaction():
            rows = await connection.fetch(_SQL["mark_discarded"], batch, actor.name, actor.reason)
            if rows:
                await record_acts(connection, actor, "discard", [(row["id"], row["order_id"], None) for row in rows])
        discarded |= {row["id"]: row["reason"] for row in rows}
    return structs.replace(planned, letters=discarded)


async def refuse_discard(connection: Connection, letter: DeadLetter) -> None:
    """Refuses what was replayed, and a command about which a person can still decide."""
    if letter.status == "replayed":
        raise Refused(f"dead letter {letter.id} was replayed by {letter.decided_by} already")
    if await undecided(connection, [letter.id]):
        raise Refused(f"dead letter {letter.id} is not discarded but decided: {letter.how_to_decide()}")
