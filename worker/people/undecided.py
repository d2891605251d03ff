"""Dead letters whose commands wait for a person (R39): they are decided, not discarded."""

from collections.abc import Sequence

from worker.domain.kept import decode_order
from worker.people.needs import LedgerView, acts_on, is_over
from worker.postgres.connecting import Connection
from worker.postgres.queries import load

# Well within the time that one statement may take.
BATCH_MAX = 1_000

_SQL = load("worker.people")


async def undecided(connection: Connection, dead_letters: Sequence[int]) -> set[int]:
    """Those of them that are open, and about whose command something can still be decided."""
    found = set()
    for start in range(0, len(dead_letters), BATCH_MAX):
        for row in await connection.fetch(_SQL["undecided_commands"], dead_letters[start : start + BATCH_MAX]):
            order = decode_order(row["document"]) if row["document"] else None
            view = LedgerView(over=is_over(order, row["command_id"]))
            if acts_on(row["state"], row["done"], row["value"], view):
                found.add(row["id"])
    return found
