"""What needs a person: commands that wait for one, and amounts that failed, came short, lapsed, wait or do not fit."""

from collections import Counter
from collections.abc import Container, Iterable
from datetime import datetime
from typing import Any, Literal, get_args

from msgspec import Struct

from worker.domain.kept import decode_order
from worker.domain.objection import RESOLVED_STATES, DecisionKind, objection
from worker.domain.order import Operation, Order
from worker.domain.published import attention_of, authorization_needed
from worker.postgres.connecting import Connection
from worker.postgres.queries import load

LISTED_MAX = 500
ORDERS_LOOKED_AT_MAX = 5_000
ACTS: tuple[DecisionKind, ...] = get_args(DecisionKind)

_SQL = load("worker.people")

NeedKind = Literal["manual", "suspect", "unknown", "failed", "short", "lapsed", "waiting"]
# Kind → the state of its commands at the delivery worker. Those that came short are found by their orders.
STATES = {state: state for state in RESOLVED_STATES} | {"failed": "declined"}


class Need(Struct, frozen=True, kw_only=True):
    """One amount that needs a person; `value` is what its command asked, `amount` what is at stake."""

    need: NeedKind
    order_id: str
    merchant: str
    currency: str
    amount: int
    acts: tuple[DecisionKind, ...]
    """What may be decided now."""
    noted: str | None = None
    """What was decided and is not applied yet."""
    command_id: str | None = None
    payment_id: str | None = None
    invoice_number: str | None = None
    settle_id: str | None = None
    connector: str | None = None
    operation: Operation | None = None
    value: int | None = None
    done: int | None = None
    state: str | None = None
    attempts: int | None = None
    code: str | None = None
    message: str | None = None
    first_attempt_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def since(self) -> datetime | None:
        """When its command ended, or was first sent; None: no command carries it."""
        return self.ended_at or self.first_attempt_at


class Needs(Struct, frozen=True):
    """What needs a person: the latest, and all of it in figures."""

    latest: list[Need]
    total: int
    is_exact: bool
    """False: there are more than were looked at."""
    sums: dict[str, int]
    """Currency → the sum of the amounts."""
    oldest: datetime | None
    """Since when the oldest of the commands waits; None: no command is among them."""

    def __str__(self) -> str:
        """`174 amounts`, `2 of 174 amounts`, `200 of 5,000 or more amounts`."""
        total = f"{self.total:,}{'' if self.is_exact else ' or more'} amount{'' if self.total == 1 else 's'}"
        return total if len(self.latest) == self.total else f"{len(self.latest):,} of {total}"


async def find_needs(
    connection: Connection, *, need: str | None = None, order_id: str | None = None, merchant: str | None = None,
    connector: str | None = None, limit: int = LISTED_MAX,
) -> Needs:  # fmt: skip
    """What needs a person: what the ledger knows, and what a connector left open a moment ago."""
    states = [state for kind, state in STATES.items() if need in (None, kind)]
    documents = await connection.fetch(_SQL["orders_needing_people"], order_id, merchant, ORDERS_LOOKED_AT_MAX, states)
    orders = [decode_order(row["document"]) for row in documents]
    found = [(order, one) for order in orders for one in attention_of(order)]
    named = {one["commandId"]: (order, one) for order, one in found if one["commandId"]}
    undecided = [one for one in states if one in RESOLVED_STATES]
    rows = await connection.fetch(
        _SQL["commands_needing_people"], list(named), order_id, undecided, merchant, ORDERS_LOOKED_AT_MAX
    )
    open_in_ledger = {one for one, (_, said) in named.items() if said["code"] in RESOLVED_STATES}
    ended = (row["command_id"] for row in rows if row["state"] not in RESOLVED_STATES)
    doubted = await _ended_in_ledger(connection, [one for one in ended if one in open_in_ledger])
    commands = [_of_command(row, named.get(row["command_id"]), doubted) for row in rows]
    taken_over = {one.command_id for one in commands}
    amounts = [_of_amount(order, one) for order, one in found if one["commandId"] not in taken_over]
    waiting = await _waiting(connection, order_id, merchant) if need in (None, "waiting") else []
    every = [*_latest_first(commands), *amounts, *waiting]
    wanted = [
        one for one in every
        if need in (None, one.need) and merchant in (None, one.merchant) and connector in (None, one.connector)
    ]  # fmt: skip
    is_exact = max(len(documents), len(rows) - len(named), len(waiting)) < ORDERS_LOOKED_AT_MAX
    sums = Counter[str]()
    for one in wanted:
        sums[one.currency] += one.amount
    oldest = min((one.since for one in wanted if one.since is not None), default=None)
    return Needs(wanted[:limit], len(wanted), is_exact, dict(sorted(sums.items())), oldest)


class AwaitedConnector(Struct, frozen=True):
    """A connector that the connectors file does not name; nobody decides about the orders that wait for it."""

    connector: str
    orders: int
    first_order: str


async def awaited_connectors(
    connection: Connection, *, order_id: str | None = None, merchant: str | None = None
) -> list[AwaitedConnector]:
    """The connectors that orders wait for, most awaited first."""
    rows = await connection.fetch(_SQL["awaited_connectors"], order_id, merchant)
    return [AwaitedConnector(**row) for row in rows]


class LedgerView(Struct, frozen=True):
    """What the ledger knows of a command beyond the delivery worker; see `objection`."""

    doubted: bool = False
    over: bool = False


def acts_on(state: str, done: int, value: int, view: LedgerView) -> tuple[DecisionKind, ...]:
    """What a person may decide about a command."""
    return tuple(
        action for action in ACTS
        if objection(action, state, done, value, doubted=view.doubted, over=view.over) is None
    )  # fmt: skip


async def read_ledger_view(connection: Connection, order: Order | None, command_id: str) -> LedgerView:
    """The ledger adds nothing where it does not know the command, or has not heard of its end."""
    command = order.commands.get(command_id) if order else None
    if command is not None and command.state in RESOLVED_STATES:
        return LedgerView(doubted=command_id in await _ended_in_ledger(connection, [command_id]))
    return LedgerView(over=is_over(order, command_id))


def is_over(order: Order | None, command_id: str) -> bool:
    """Whether the ledger knows how the command ended, and nothing of it is missing any more."""
    command = order.commands.get(command_id) if order else None
    return command is not None and not command.in_flight and not command.missing


async def _ended_in_ledger(connection: Connection, commands: list[str]) -> set[str]:
    """Those of these commands whose end, as the delivery worker knows it, is a fact of the ledger."""
    rows = await connection.fetch(_SQL["ended_in_ledger"], commands) if commands else ()
    return {row["command_id"] for row in rows}


async def read_ledger_order(connection: Connection, order_id: str) -> Order | None:
    """The order as the ledger knows it; None if nothing has opened it."""
    document = await connection.fetchval(_SQL["order_document"], order_id)
    return decode_order(document) if document else None


def _of_command(row: Any, known: tuple[Order, dict[str, Any]] | None, doubted: Container[str]) -> Need:
    names = ("command_id", "order_id", "payment_id", "connector", "operation", "value", "done", "state", "attempts",
             "code", "message", "first_attempt_at", "ended_at", "merchant", "currency", "noted")  # fmt: skip
    said = known[1] if known else None
    return Need(
        need=row["state"] if said is None or row["state"] in RESOLVED_STATES else said["code"],
        amount=row["value"] if said is None else said["amount"],
        invoice_number=said["invoiceNumber"] if said else None,
        settle_id=said["settleId"] if said else None,
        acts=acts_on(row["state"], row["done"], row["value"], LedgerView(doubted=row["command_id"] in doubted)),
        **{name: row[name] for name in names},
    )


def _of_amount(order: Order, said: dict[str, Any]) -> Need:
    """A lapsed amount of an invoice, or an automatic settlement that does not fit: it can only be abandoned (R39).

    Or a command that the delivery worker does not know yet: nobody can decide about it.
    """
    command = order.commands.get(said["commandId"])
    return Need(
        need=said["code"], order_id=order.order_id, merchant=order.merchant, currency=order.currency,
        amount=said["amount"], payment_id=said["paymentId"], invoice_number=said["invoiceNumber"],
        settle_id=said["settleId"], command_id=said["commandId"], operation=command.operation if command else None,
        value=command.value if command else None, acts=() if command else ("abandon",),
    )  # fmt: skip


async def _waiting(connection: Connection, order_id: str | None, merchant: str | None) -> list[Need]:
    """What is invoiced beyond all authorizations (R16). No decision helps: another payment must be authorized."""
    rows = await connection.fetch(_SQL["orders_needing_authorization"], order_id, merchant, ORDERS_LOOKED_AT_MAX)
    return [
        Need(
            need="waiting", order_id=order.order_id, merchant=order.merchant, currency=order.currency,
            amount=authorization_needed(order), acts=(),
        )
        for order in (decode_order(row["document"]) for row in rows)
    ]  # fmt: skip


def _latest_first(found: Iterable[Need]) -> list[Need]:
    return sorted(found, key=lambda one: str(one.since or ""), reverse=True)
