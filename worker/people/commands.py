"""Commands that need a person: shows one, and records that a person retries, resolves or abandons it (R39).

`changes`: how often the state of the command had changed when the person looked at it.
"""

from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct, structs

from worker.domain.money import MAX_MINOR
from worker.domain.objection import DecisionKind, changed_since, objection
from worker.domain.possible import why_not_asked_again, why_not_done, why_not_given_up
from worker.people.acting import Actor, HumanDecision, NotFoundError, Refused, record_act, refuse_unstorable
from worker.people.needs import acts_on, read_ledger_order, read_ledger_view
from worker.postgres.connecting import Connection
from worker.postgres.queries import load

# A decision is found again by all that it says, and a key of PostgreSQL's has at most 2,704 bytes, with its lengths.
DECISION_BYTES_MAX = 2_600

_SQL = load("worker.people")

Json = dict[str, Any]


class CommandPage(Struct, frozen=True):
    """One command with its attempts and what people decided about it."""

    command: Json
    """Its row, with `currency` and `merchant`."""
    attempts: list[Json]
    decisions: list[Json]
    acts: tuple[DecisionKind, ...]
    """What may be decided now."""
    asked_again: list[str]
    """The ids of the commands that ask again for what it did not do."""

    @property
    def pending(self) -> Json | None:
        """The last decision that is not applied yet."""
        return next((one for one in reversed(self.decisions) if one["applied_at"] is None), None)

    def as_json(self) -> Json:
        """For programs."""
        return {
            **self.command, "attempts": self.attempts, "decisions": self.decisions, "acts": self.acts,
            "asked_again": self.asked_again,
        }  # fmt: skip


class EarlierDecision(Struct, frozen=True):
    """The same decision by the same person for the same reason, applied or refused before: it is not repeated."""

    ended_at: datetime
    refused: str | None

    def __str__(self) -> str:
        became = f"refused ({self.refused})" if self.refused else "applied"
        return (f"nothing new: you decided the same for the same reason before, and at "
                f"{self.ended_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC it was {became}; "
                "to decide it anew, give another reason")  # fmt: skip


async def read_command(connection: Connection, command_id: str) -> Json:
    """The command as its tables have it, with what was asked; raises `NotFoundError` for one that is not known."""
    row = await _row(connection, command_id)
    asked = msgspec.json.decode(row.pop("body"))
    return row | {name: asked.get(name) for name in ("currency", "merchant", "cause")} | {"asked": asked}


async def read_page(connection: Connection, command_id: str) -> CommandPage:
    """Everything known of one command."""
    command = await read_command(connection, command_id)
    attempts = await connection.fetch(_SQL["show_attempts"], command_id)
    decisions = await connection.fetch(_SQL["show_decisions"], command_id)
    asked_again = await connection.fetch(_SQL["asked_again"], command["order_id"], command_id)
    view = await read_ledger_view(connection, await read_ledger_order(connection, command["order_id"]), command_id)
    return CommandPage(
        command, [dict(one) for one in attempts], [dict(one) for one in decisions],
        acts_on(command["state"], command["done"], command["value"], view), [one["command_id"] for one in asked_again],
    )  # fmt: skip


async def retry(
    connection: Connection, actor: Actor, command_id: str, *, changes: int | None = None
) -> EarlierDecision | None:
    """Asks again: a declined or short command as a new one, an unknown or suspect one under the same request id.

    Refuses a declined or short one of which the ledger would ask nothing again.
    """
    return await _decide(connection, actor, "retry", command_id, changes)


async def resolve(
    connection: Connection, actor: Actor, command_id: str, *, done: int | None = None, operation_id: str | None = None,
    changes: int | None = None,
) -> EarlierDecision | None:  # fmt: skip
    """Closes a manual, suspect or unknown command: done with this value and id, or (without both) not done."""
    if (done is None) != (not operation_id):
        raise Refused("what was done has a value and the connector's operation id; what was not done has neither")
    if done is not None and not 0 < done <= MAX_MINOR:
        raise Refused(f"the value must be a whole number of minor units from 1 to {MAX_MINOR}")
    if operation_id is not None:
        refuse_unstorable("the operation id", operation_id)
    return await _decide(
        connection, actor, "resolve", command_id, changes, value=done or 0, operation_id=operation_id or None
    )


async def abandon(
    connection: Connection, actor: Actor, command_id: str, *, changes: int | None = None
) -> EarlierDecision | None:
    """Gives up a declined or short command: its amount no longer holds the order."""
    return await _decide(connection, actor, "abandon", command_id, changes)


async def abandon_amount(
    connection: Connection, actor: Actor, order_id: str, *, invoice: str | None = None, settle_id: str | None = None
) -> EarlierDecision | None:
    """Gives up an invoice's lapsed amount, or a suspect automatic settlement."""
    if (invoice is None) == (settle_id is None):
        raise Refused("name the invoice whose lapsed amount is given up, or the automatic settlement")
    for what, text in (("the order", order_id), ("the invoice", invoice), ("the settle id", settle_id)):
        refuse_unstorable(what, text or "")
    home = await connection.fetchval(_SQL["home_of_order"], order_id)
    if home is None:
        raise NotFoundError(f"no order {order_id} is known")
    order = await read_ledger_order(connection, order_id)
    decision = HumanDecision(actor=actor, action="abandon", order_id=order_id, invoice=invoice, settle_id=settle_id)
    if refusal := why_not_given_up(order, order_id, invoice, settle_id):
        if (before := await _find_same(connection, decision)) is not None:
            return _earlier(before)
        raise Refused(refusal)
    return await _record(connection, decision, home)


async def why_not_bookable(
    connection: Connection, order_id: str, command_id: str, done: int, operation_id: str
) -> str | None:
    """One sentence on why the ledger would refuse that this was done, as far as it knows now, or None."""
    order = await read_ledger_order(connection, order_id)
    return why_not_done(order, command_id, done, operation_id) if order else None


async def _decide(
    connection: Connection, actor: Actor, action: DecisionKind, command_id: str, changes: int | None, *,
    value: int | None = None, operation_id: str | None = None,
) -> EarlierDecision | None:  # fmt: skip
    """Records a decision, once per state of the command; the same call again, also once it took effect, is no error."""
    row = await _row(connection, command_id)
    order = await read_ledger_order(connection, row["order_id"])
    view = await read_ledger_view(connection, order, command_id)
    refusal = changed_since(changes, row["changes"], row["state"]) or objection(
        action, row["state"], row["done"], row["value"], doubted=view.doubted, over=view.over
    )
    if refusal is None and order is not None:
        if action == "retry":
            refusal = why_not_asked_again(order, command_id)
        elif value and operation_id:
            refusal = why_not_done(order, command_id, value, operation_id)
    decision = HumanDecision(
        actor=actor, action=action, order_id=row["order_id"], command_id=command_id, changes=changes, value=value,
        operation_id=operation_id,
    )  # fmt: skip
    if (refusal or row["state"] == "resolved") and (before := await _find_same(connection, decision)) is not None:
        return _earlier(before)
    if refusal:
        raise Refused(refusal)
    return await _record(connection, structs.replace(decision, changes=row["changes"]), row["partition"])


async def _record(connection: Connection, decision: HumanDecision, partition: int) -> EarlierDecision | None:
    """Records a decision for the delivery worker; if that was done before, returns what came of it."""
    _refuse_too_long(decision)
    async with connection.transaction():
        if await connection.fetchval(_SQL["decide"], *decision.arguments(), partition):
            await record_act(connection, decision)
            return None
    return _earlier(await _find_same(connection, decision))


async def _find_same(connection: Connection, decision: HumanDecision) -> Any:
    """The same decision, if it was recorded before."""
    return await connection.fetchrow(_SQL["same_decision"], *decision.arguments())


def _earlier(before: Any) -> EarlierDecision | None:
    """What came of it; None while it still waits to be applied."""
    return EarlierDecision(before["applied_at"], before["refused"]) if before and before["applied_at"] else None


def _refuse_too_long(decision: HumanDecision) -> None:
    _, *said = decision.arguments()
    size = sum(len(one.encode()) for one in said if isinstance(one, str))
    if size > DECISION_BYTES_MAX:
        raise Refused(f"name and reason are {size - DECISION_BYTES_MAX} bytes too long to be kept with this decision; "
                      "a letter beyond ASCII takes two to four")  # fmt: skip


async def _row(connection: Connection, command_id: str) -> Json:
    refuse_unstorable("a command's id", command_id)
    row = await connection.fetchrow(_SQL["show_command"], command_id)
    if row is None:
        raise NotFoundError(
            f"no command {command_id} is known; `settlement commands list` shows those that need a person"
        )
    return dict(row)
