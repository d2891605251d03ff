"""Who acts, why and through what; every act is written down before anything is done."""

from typing import Any, Literal, TypeAlias

import asyncpg
from msgspec import Struct

from worker.postgres.queries import load

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Action = Literal["retry", "resolve", "abandon", "replay", "discard"]
Through = Literal["command line", "ops view"]

NAME_CHARACTERS_MAX = 256
REASON_CHARACTERS_MAX = 1_000

_SQL = load("worker.people")


class Refused(Exception):
    """One sentence: why it cannot be done, and what can."""


class Actor(Struct, frozen=True):
    """A person, and why they act; `Refused` where one of both is missing."""

    name: str
    reason: str
    through: Through = "command line"

    def __post_init__(self) -> None:
        for what, text, limit in (("a name", self.name, NAME_CHARACTERS_MAX),
                                  ("a reason", self.reason, REASON_CHARACTERS_MAX)):  # fmt: skip
            if not text.strip():
                raise Refused(f"whoever decides gives {what}: it is kept with the decision")
            refuse_unstorable(what, text, limit)


def refuse_unstorable(what: str, text: str, limit: int = NAME_CHARACTERS_MAX) -> None:
    """What PostgreSQL cannot keep, or nobody would read, is refused with a sentence."""
    if len(text) > limit:
        raise Refused(f"{what} has at most {limit} characters, not {len(text)}")
    if "\0" in text or any("\ud800" <= one <= "\udfff" for one in text):
        raise Refused(f"{what} is text: no U+0000 and no half of a character pair")


async def write_down(
    connection: Connection, actor: Actor, action: Action, *, order_id: str | None = None, command_id: str | None = None,
    invoice: str | None = None, settle_id: str | None = None, value: int | None = None, operation_id: str | None = None,
) -> None:  # fmt: skip
    """One act on a command, or on an amount that no command carries."""
    await connection.execute(
        _SQL["write_act"], actor.name, actor.reason, actor.through, action, order_id, command_id, invoice, settle_id,
        value, operation_id,
    )  # fmt: skip


async def write_down_all(
    connection: Connection, actor: Actor, action: Action, dead_letters: list[tuple[int, str | None, bytes | None]]
) -> None:
    """One act on each of these dead letters: id, its order, and what is sent instead of it, if it was edited."""
    columns: list[list[Any]] = [list(column) for column in zip(*dead_letters, strict=True)]
    await connection.execute(_SQL["write_acts"], actor.name, actor.reason, actor.through, action, *columns)
