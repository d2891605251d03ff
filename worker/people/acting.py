"""Who acts, why and through what. Every act is recorded before anything is done."""

from typing import Any, Literal

from msgspec import Struct

from worker.postgres.connecting import Connection
from worker.postgres.queries import load
from worker.postgres.values import columns
from worker.text import storable

Action = Literal["retry", "resolve", "abandon", "replay", "discard"]
Through = Literal["command line", "ops view"]

NAME_CHARACTERS_MAX = 256
REASON_CHARACTERS_MAX = 1_000

_SQL = load("worker.people")


class Refused(Exception):
    """One sentence: why it cannot be done, and what can."""


class NotFoundError(Refused):
    """Nothing has the name that was given."""


class Actor(Struct, frozen=True):
    """A person, and why they act; raises `Refused` if either is missing."""

    name: str
    reason: str
    through: Through = "command line"

    def __post_init__(self) -> None:
        for what, text, limit in (("a name", self.name, NAME_CHARACTERS_MAX),
                                  ("a reason", self.reason, REASON_CHARACTERS_MAX)):  # fmt: skip
            if not text.strip():
                raise Refused(f"{what} is missing: it is kept with the decision")
            refuse_unstorable(what, text, limit)


def refuse_unstorable(what: str, text: str, limit: int = NAME_CHARACTERS_MAX) -> None:
    """Raises `Refused` for text that PostgreSQL cannot store, or that is too long."""
    if len(text) > limit:
        raise Refused(f"{what} may have at most {limit} characters, not {len(text)}")
    if storable(text) != text:
        raise Refused(f"{what} holds what cannot be kept: U+0000, or half of a character pair")


class HumanDecision(Struct, frozen=True, kw_only=True):
    """A person's decision about a command, or about an amount that no command carries."""

    actor: Actor
    action: Action
    order_id: str
    command_id: str | None = None
    invoice: str | None = None
    settle_id: str | None = None
    changes: int | None = None
    """How often the command's state had changed when it was looked at."""
    value: int | None = None
    operation_id: str | None = None

    def arguments(self) -> tuple[Any, ...]:
        """In the order of the queries' parameters."""
        return (
            self.action, self.order_id, self.command_id, self.invoice, self.settle_id, self.changes, self.value,
            self.operation_id, self.actor.name, self.actor.reason,
        )  # fmt: skip


async def record_act(connection: Connection, decision: HumanDecision) -> None:
    """Records a decision as an act."""
    actor = decision.actor
    await connection.execute(
        _SQL["write_act"], actor.name, actor.reason, actor.through, decision.action, decision.order_id,
        decision.command_id, decision.invoice, decision.settle_id, decision.value, decision.operation_id,
    )  # fmt: skip


async def record_acts(
    connection: Connection, actor: Actor, action: Action, dead_letters: list[tuple[int, str | None, bytes | None]]
) -> None:
    """Records one act on each dead letter: its id, its order, and what is sent instead of it if it was edited."""
    await connection.execute(
        _SQL["write_acts"], actor.name, actor.reason, actor.through, action, *columns(dead_letters)
    )
