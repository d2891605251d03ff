"""Retries many commands at once (R39): each is a decision of its own, and a refusal of one does not stop the others."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal, get_args

from msgspec import Struct, field

from worker.domain.kept import decode_order
from worker.domain.order import Order
from worker.domain.possible import why_not_asked_again
from worker.people import commands
from worker.people.acting import Actor, Refused
from worker.people.needs import STATES, is_over
from worker.postgres.connecting import Connection
from worker.postgres.queries import load

# Of how many commands the orders are read at once.
BATCH_MAX = 500

_SQL = load("worker.people")

Retried = Literal["unknown", "suspect", "failed"]


class CommandFilter(Struct, frozen=True, kw_only=True):
    """Which commands are meant. None: whatever it is."""

    need: Retried | None = None
    connector: str | None = None
    code: str | None = None
    merchant: str | None = None
    order_id: str | None = None
    since: datetime | None = None
    before: datetime | None = None

    def arguments(self) -> tuple[Any, ...]:
        """In the order of the query's parameters."""
        states = [STATES[kind] for kind in get_args(Retried) if self.need in (None, kind)]
        return states, self.connector, self.code, self.merchant, self.order_id, self.since, self.before


class RefusedRetry(Struct, frozen=True):
    """A command that is left as it is, and why."""

    command_id: str
    why: str


class Retry(Struct):
    """What became of the selected commands, or would."""

    noted: Counter[tuple[Retried, str, str | None]] = field(default_factory=Counter)
    """How many are asked again, by kind, connector and the connector's code."""
    decided_before: int = 0
    """Of these a decision is not applied yet, or the same was decided by the same person for the same reason before."""
    refused: list[RefusedRetry] = field(default_factory=list)


async def retry_all(
    connection: Connection, actor: Actor | None, wanted: CommandFilter,
    on_progress: Callable[[int, int], None] = lambda _, __: None,
) -> Retry:  # fmt: skip
    """Notes a retry of each command that matches now and lacks something. Without an actor, only foresees it.

    It may be stopped at any moment and called again: the same decision about the same state acts once.
    """
    picked = await connection.fetch(_SQL["pick_commands"], *wanted.arguments())
    done = Retry()
    for start in range(0, len(picked), BATCH_MAX):
        batch = picked[start : start + BATCH_MAX]
        orders = await _read_orders(connection, {row["order_id"] for row in batch})
        for row in batch:
            order = orders.get(row["order_id"])
            # A declined command that was asked anew since, or stood in for, is no longer failed.
            if row["need"] != "failed" or not is_over(order, row["command_id"]):
                await _retry(connection, actor, row, order, done)
        on_progress(min(start + BATCH_MAX, len(picked)), len(picked))
    return done


async def _read_orders(connection: Connection, ids: set[str]) -> dict[str, Order]:
    rows = await connection.fetch(_SQL["order_documents"], list(ids))
    return {row["order_id"]: decode_order(row["document"]) for row in rows if row["document"]}


async def _retry(connection: Connection, actor: Actor | None, row: Any, order: Order | None, done: Retry) -> None:
    try:
        decided_before = row["noted"] or await _ask_again(connection, actor, row, order)
    except Refused as problem:
        done.refused.append(RefusedRetry(row["command_id"], str(problem)))
        return
    if decided_before:
        done.decided_before += 1
    else:
        done.noted[row["need"], row["connector"], row["code"]] += 1


async def _ask_again(connection: Connection, actor: Actor | None, row: Any, order: Order | None) -> bool:
    """Whether the same was decided before. Without an actor, only raises what would refuse it."""
    if actor is not None:
        return await commands.retry(connection, actor, row["command_id"], changes=row["changes"]) is not None
    if order and (refusal := why_not_asked_again(order, row["command_id"])):
        raise Refused(refusal)
    return False
