"""What the live view keeps of one order, and how a message of the output topics changes it: pure.

Messages come at least once, and those of two topics come in any order between each other. A state counts when its
version is higher, an event and a command when their sequence is: so a repeat changes nothing, however late.
"""

from collections.abc import Callable
from datetime import datetime

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

DAY_MS = 86_400_000
# How long an order that came to its end is remembered: a repeat of what happened today must find it.
KEPT_AFTER_END_MS = 2 * DAY_MS

_MOVES = {
    "settlement.confirmed": "settled", "payment.auto_settled": "settled",
    "refund.confirmed": "refunded", "void.confirmed": "voided",
}  # fmt: skip
_ENDED = frozenset(("command.succeeded", "command.declined", "command.resolved"))
_TROUBLED = {"command.unknown": "unknown", "command.suspect": "suspect", "command.manual": "manual"}


class Attention(Struct, frozen=True, rename="camel", gc=False):
    """One thing that a person must look at."""

    code: str


class PaymentState(Struct, frozen=True, rename="camel", gc=False):
    connector: str


class State(Struct, frozen=True, rename="camel", gc=False):
    """The part of `order.state` that a list or a sum needs."""

    order_id: str
    merchant: str
    currency: str
    status: str
    value: int
    authorized: int
    settled: int
    settling: int
    refunding: int
    voiding: int
    open: int
    version: int
    updated_at: datetime
    payments: tuple[PaymentState, ...] = ()
    attention: tuple[Attention, ...] = ()


class Numbers(Struct, frozen=True, rename="camel", gc=False):
    value: int | str | None = None
    payment_id: str | None = None
    before: int = 0
    """So much of the value was told by an earlier event."""
    undone: int = 0
    """So much that was told as voided is not any more."""


class Event(Struct, frozen=True, rename="camel", gc=False):
    order_id: str
    sequence: int
    type: str
    at: datetime
    numbers: Numbers = Numbers()


class Command(Struct, frozen=True, rename="camel", gc=False):
    order_id: str
    command_id: str
    payment_id: str
    connector: str
    value: int
    sequence: int
    issued_at: datetime


class Outcome(Struct, frozen=True, rename="camel", gc=False):
    order_id: str
    command_id: str | None = None
    at: datetime | None = None


Message = State | Event | Command | Outcome


class Asked(Struct, frozen=True, array_like=True, gc=False):
    """A command without a final outcome."""

    connector: str
    value: int
    issued_ms: int
    trouble: str = ""


class Moved(Struct, frozen=True, array_like=True, gc=False):
    """What money of an order moved on one day (UTC)."""

    day: int = 0
    settled: int = 0
    refunded: int = 0
    voided: int = 0


class Row(Struct, frozen=True, array_like=True, gc=False):
    """One order as the live view knows it; without a state its events or commands came first."""

    state: State | None = None
    sequence: int = 0
    """Of the last event."""
    moved: Moved = Moved()
    lines: dict[str, int] = field(default_factory=dict)
    """Payment → sequence of its last command."""
    asked: dict[str, Asked] = field(default_factory=dict)
    early: dict[str, str] = field(default_factory=dict)
    """Outcomes that came before their commands."""


decode: dict[str, Callable[[bytes], Message]] = {
    "state": msgspec.json.Decoder(State).decode,
    "event": msgspec.json.Decoder(Event).decode,
    "command": msgspec.json.Decoder(Command).decode,
    "outcome": msgspec.json.Decoder(Outcome).decode,
}


def fold(row: Row, message: Message, kind: str) -> Row:
    """The row after the message; the same row where it says nothing new."""
    match message:
        case State():
            return replace(row, state=message) if row.state is None or message.version > row.state.version else row
        case Event():
            return _told(row, message) if message.sequence > row.sequence else row
        case Command():
            return _commanded(row, message) if message.sequence > row.lines.get(message.payment_id, 0) else row
        case Outcome():
            return _answered(row, message, kind)


def is_over(row: Row, now_ms: int) -> bool:
    """Whether the order has ended so long ago that no repeat of its messages can come any more."""
    state = row.state
    if state is None:
        return False
    ended = state.status in ("finished", "canceled") and not row.asked
    return ended and milliseconds(state.updated_at) < now_ms - KEPT_AFTER_END_MS


def milliseconds(at: datetime) -> int:
    """Since 1970."""
    return round(at.timestamp() * 1000)


def _told(row: Row, event: Event) -> Row:
    row = replace(row, sequence=event.sequence)
    name = _MOVES.get(event.type)
    if name is None or not isinstance(event.numbers.value, int):
        return row
    day = milliseconds(event.at) // DAY_MS
    moved = row.moved if row.moved.day == day else Moved(day)
    if day < row.moved.day:
        return row
    change = {name: getattr(moved, name) + event.numbers.value - event.numbers.before}
    if event.numbers.undone:
        change["voided"] = moved.voided - event.numbers.undone
    return replace(row, moved=replace(moved, **change))


def _commanded(row: Row, command: Command) -> Row:
    lines = {**row.lines, command.payment_id: command.sequence}
    kind = row.early.get(command.command_id)
    if kind in _ENDED:
        early = {name: one for name, one in row.early.items() if name != command.command_id}
        return replace(row, lines=lines, early=early)
    asked = Asked(command.connector, command.value, milliseconds(command.issued_at), _TROUBLED.get(kind or "", ""))
    return replace(row, lines=lines, asked={**row.asked, command.command_id: asked})


def _answered(row: Row, outcome: Outcome, kind: str) -> Row:
    command_id = outcome.command_id
    if command_id is None:
        return row
    asked = row.asked.get(command_id)
    if asked is None:
        news = kind in _ENDED or kind in _TROUBLED
        return replace(row, early={**row.early, command_id: kind}) if news else row
    if kind in _ENDED:
        return replace(row, asked={name: one for name, one in row.asked.items() if name != command_id})
    if kind in _TROUBLED or kind == "command.retried":
        return replace(row, asked={**row.asked, command_id: replace(asked, trouble=_TROUBLED.get(kind, ""))})
    return row
