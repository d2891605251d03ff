"""The live view's row of one order, and how each message of the output topics changes it: pure functions.

Messages are delivered at least once, and messages of different topics arrive in any order relative to each other.
A state is applied only if its version is higher than the row's, an event or a command only if its sequence is: so a
repeat changes nothing, however late it comes.
"""

from collections.abc import Callable
from datetime import datetime

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

DAY_MS = 86_400_000
# How long a finished or canceled order keeps its row: a message of today that is repeated must still find it.
KEPT_AFTER_END_MS = 2 * DAY_MS

# Event type → the field of `Moved` that it adds to.
_MOVED_FIELDS = {
    "settlement.confirmed": "settled", "payment.auto_settled": "settled",
    "refund.confirmed": "refunded", "void.confirmed": "voided",
}  # fmt: skip
_FINAL_OUTCOMES = frozenset(("command.succeeded", "command.declined", "command.resolved"))
_TROUBLES = {"command.unknown": "unknown", "command.suspect": "suspect", "command.manual": "manual"}


class Attention(Struct, frozen=True, rename="camel", gc=False):
    """One entry of `order.state`'s `attention`: something that a person must look at."""

    code: str
    amount: int


class PaymentState(Struct, frozen=True, rename="camel", gc=False):
    connector: str


class State(Struct, frozen=True, rename="camel", gc=False):
    """The fields of `order.state` that lists and sums need."""

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
    waiting: int
    version: int
    updated_at: datetime
    payments: tuple[PaymentState, ...] = ()
    attention: tuple[Attention, ...] = ()


class Numbers(Struct, frozen=True, rename="camel", gc=False):
    value: int | str | None = None
    payment_id: str | None = None
    before: int = 0
    """The part of `value` that an earlier event has reported already."""
    undone: int = 0
    """The part that an earlier event reported as voided and that no longer is."""


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


class OpenCommand(Struct, frozen=True, array_like=True, gc=False):
    """A command without a final outcome."""

    connector: str
    value: int
    issued_ms: int
    trouble: str = ""


class Moved(Struct, frozen=True, array_like=True, gc=False):
    """How much of an order's money was settled, refunded and voided on one day (UTC)."""

    day: int = 0
    settled: int = 0
    refunded: int = 0
    voided: int = 0


class Row(Struct, frozen=True, array_like=True, gc=False):
    """One order as the live view knows it. `state` is None while only its events or commands have arrived.

    Stored as an array in a changelog: keep the order of the fields.
    """

    state: State | None = None
    event_sequence: int = 0
    """Of the last event that was applied."""
    moved: Moved = Moved()
    """Of the latest day with a movement."""
    command_sequences: dict[str, int] = field(default_factory=dict)
    """Payment id → sequence of its last command."""
    open_commands: dict[str, OpenCommand] = field(default_factory=dict)
    """By command id."""
    early_outcomes: dict[str, str] = field(default_factory=dict)
    """Command id → type of its last outcome, where that arrived before the command."""


DECODERS: dict[str, Callable[[bytes], Message]] = {
    "state": msgspec.json.Decoder(State).decode,
    "event": msgspec.json.Decoder(Event).decode,
    "command": msgspec.json.Decoder(Command).decode,
    "outcome": msgspec.json.Decoder(Outcome).decode,
}


def fold(row: Row, message: Message, kind: str) -> Row:
    """Returns the row after the message; the same object if the message changes nothing. `kind` is its `ce_type`."""
    match message:
        case State():
            return replace(row, state=message) if row.state is None or message.version > row.state.version else row
        case Event():
            return _with_event(row, message) if message.sequence > row.event_sequence else row
        case Command():
            known = row.command_sequences.get(message.payment_id, 0)
            return _with_command(row, message) if message.sequence > known else row
        case Outcome():
            return _with_outcome(row, message, kind)


def is_expired(row: Row, now_ms: int) -> bool:
    """Whether the order ended so long ago that none of its messages can be repeated any more."""
    state = row.state
    if state is None:
        return False
    ended = state.status in ("finished", "canceled") and not row.open_commands
    return ended and epoch_ms(state.updated_at) < now_ms - KEPT_AFTER_END_MS


def epoch_ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def _with_event(row: Row, event: Event) -> Row:
    row = replace(row, event_sequence=event.sequence)
    name = _MOVED_FIELDS.get(event.type)
    if name is None or not isinstance(event.numbers.value, int):
        return row
    day = epoch_ms(event.at) // DAY_MS
    if day < row.moved.day:
        return row
    moved = row.moved if row.moved.day == day else Moved(day)
    change = {name: getattr(moved, name) + event.numbers.value - event.numbers.before}
    if event.numbers.undone:
        change["voided"] = moved.voided - event.numbers.undone
    return replace(row, moved=replace(moved, **change))


def _with_command(row: Row, command: Command) -> Row:
    """The command is open, unless its final outcome arrived before it."""
    sequences = {**row.command_sequences, command.payment_id: command.sequence}
    outcome = row.early_outcomes.get(command.command_id)
    if outcome in _FINAL_OUTCOMES:
        early = {id_: kind for id_, kind in row.early_outcomes.items() if id_ != command.command_id}
        return replace(row, command_sequences=sequences, early_outcomes=early)
    trouble = _TROUBLES.get(outcome or "", "")
    opened = OpenCommand(command.connector, command.value, epoch_ms(command.issued_at), trouble)
    return replace(row, command_sequences=sequences, open_commands={**row.open_commands, command.command_id: opened})


def _with_outcome(row: Row, outcome: Outcome, kind: str) -> Row:
    command_id = outcome.command_id
    if command_id is None:
        return row
    command = row.open_commands.get(command_id)
    if command is None:
        relevant = kind in _FINAL_OUTCOMES or kind in _TROUBLES
        return replace(row, early_outcomes={**row.early_outcomes, command_id: kind}) if relevant else row
    if kind in _FINAL_OUTCOMES:
        others = {id_: other for id_, other in row.open_commands.items() if id_ != command_id}
        return replace(row, open_commands=others)
    if kind in _TROUBLES or kind == "command.retried":
        changed = replace(command, trouble=_TROUBLES.get(kind, ""))
        return replace(row, open_commands={**row.open_commands, command_id: changed})
    return row
