"""Discard: dead letters that nobody needs stay in their table, and nobody is reminded of them any more."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from msgspec import Struct, structs

from worker.people import dead_letters
from worker.people.acting import Actor, Refused, record_acts
from worker.people.dead_letters import DeadLetter, Filter
from worker.people.needs import acts_on, read_ledger_order, read_ledger_view
from worker.people.replaying import how_to_decide
from worker.postgres.connecting import Connection
from worker.postgres.queries import load

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
    ids, decided_instead = await _plan(connection, wanted)
    rows = await connection.fetch(_SQL["count_these_by_reason"], ids)
    return Discard({row["reason"]: row["open"] for row in rows}, decided_instead)


async def discard(connection: Connection, actor: Actor, wanted: Filter | Sequence[int]) -> Discard:
    """Discards those of them that are open. `Refused` where somebody named one that cannot be discarded."""
    ids, decided_instead = await _plan(connection, wanted)
    async with connection.transaction():
        rows = await connection.fetch(_SQL["mark_discarded"], ids, actor.name, actor.reason)
        if rows:
            await record_acts(connection, actor, "discard", [(row["id"], row["order_id"], None) for row in rows])
    return Discard(dict(Counter(row["reason"] for row in rows).most_common()), decided_instead)


async def refuse_discard(connection: Connection, letter: DeadLetter) -> None:
    """Refuses what was replayed, and a command about which a person can still decide."""
    if letter.status == "replayed":
        raise Refused(f"dead letter {letter.id} was replayed by {letter.decided_by} already")
    if await _undecided(connection, [letter.id]):
        raise Refused(f"dead letter {letter.id} is not discarded but decided: {how_to_decide(letter)}")


async def _plan(connection: Connection, wanted: Filter | Sequence[int]) -> tuple[list[int], int]:
    """What may be discarded, and how many of the match are commands that a person decides instead (R39)."""
    if not isinstance(wanted, Filter):
        for letter in await dead_letters.read(connection, wanted):
            await refuse_discard(connection, letter)
        return list(wanted), 0
    found = await dead_letters.find_ids(connection, structs.replace(wanted, status="open"))
    undecided = await _undecided(connection, [one for one, _ in found])
    return [one for one, _ in found if one not in undecided], len(undecided)


async def _undecided(connection: Connection, ids: Collection[int]) -> set[int]:
    """Those of them whose command waits for a decision that can still be made."""
    found = set()
    for row in await connection.fetch(_SQL["undecided_commands"], list(ids)):
        order = await read_ledger_order(connection, row["order_id"])
        view = await read_ledger_view(connection, order, row["command_id"])
        if acts_on(row["state"], row["done"], row["value"], view):
            found.add(row["id"])
    return found
