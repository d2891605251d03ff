"""Folds the records of the output topics into the live view's rows, counts and sums, and lets rows expire."""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from worker import telemetry
from worker.ops.count import Increment, add_increments
from worker.ops.row import DECODERS, Command, Event, Message, Outcome, Row, epoch_ms, fold, is_expired
from worker.ops.totals import Totals

MINUTE = 60
EXPIRY_CHECK_SECONDS = 300.0
# An order's state comes with its first event. A row that never gets one is of an order that ended long ago.
STATELESS_SECONDS_MAX = 600.0


class Folding:
    """Changes the two tables, and keeps the sums over the rows."""

    def __init__(self, rows: Any, rates: Any, kinds: Mapping[str, str]) -> None:
        self._rows = rows
        self._rates = rates
        """Faust's tables: rows by order, counts by name and minute."""
        self._kinds = kinds
        """Topic, with prefix → which of `DECODERS` reads its records."""
        self.totals = Totals()
        self._stateless: dict[bytes, float] = {}
        """Key of each row without a state → since when."""
        self._expiry_checked_at = time.monotonic()

    def begin(self) -> None:
        """Begins with the rows that the tables have now."""
        self.totals = Totals.of(self._rows.data.values())
        self._stateless = {key: time.monotonic() for key, row in self._rows.data.items() if row.state is None}

    def fold(self, events: Sequence[Any]) -> None:
        """Folds the records of a batch, each of which Faust calls an event."""
        fresh: dict[bytes, Row] = {}
        increments: defaultdict[tuple[str, int], list[Increment]] = defaultdict(list)
        for event in events:
            try:
                key, row = self._fold_event(event, fresh, increments)
            except (msgspec.DecodeError, ValueError, TypeError) as problem:
                telemetry.log.warning("the view cannot read a record", topic=event.message.topic,
                                      partition=event.message.partition, offset=event.message.offset,
                                      problem=str(problem))  # fmt: skip
                continue
            fresh[key] = row
        for key, row in fresh.items():
            self._store(key, row)
        for (name, minute), added in increments.items():
            self._rates.relative_to(float(minute))[name].apply(add_increments, added)
        if time.monotonic() - self._expiry_checked_at > EXPIRY_CHECK_SECONDS:
            self._delete_expired()

    def _fold_event(
        self, event: Any, fresh: dict[bytes, Row], increments: defaultdict[tuple[str, int], list[Increment]]
    ) -> tuple[bytes, Row]:
        """Returns the order's key and new row, and adds to `increments`; `fresh` has the rows of this batch so far."""
        message = DECODERS[self._kinds[event.message.topic]](event.value)
        kind = (event.headers.get("ce_type") or b"").decode()
        key = message.order_id.encode()
        row = fresh.get(key) or self._rows.data.get(key) or Row()
        new = fold(row, message, kind)
        if new is not row:
            minute = int(event.message.timestamp) // MINUTE * MINUTE
            for name, number in _counts(row, message, kind):
                increments[name, minute].append(Increment(event.message.partition, event.message.offset, number))
        return key, new

    def _store(self, key: bytes, row: Row) -> None:
        old = self._rows.data.get(key)
        if is_expired(row, time.time_ns() // 1_000_000):
            if old is not None:
                del self._rows[key]
            self.totals.replace(old, None)
        elif row is not old:
            if row.state is None:
                self._stateless.setdefault(key, time.monotonic())
            else:
                self._stateless.pop(key, None)
            self._rows[key] = row
            self.totals.replace(old, row)

    def _delete_expired(self) -> None:
        """Deletes the rows of orders that ended some days ago, and rows that waited too long for a state."""
        now, now_ms = time.monotonic(), time.time_ns() // 1_000_000
        self._expiry_checked_at = now
        stateless = [key for key, since in self._stateless.items() if now - since > STATELESS_SECONDS_MAX]
        expired = [key for key, row in self._rows.data.items() if is_expired(row, now_ms)]
        for key in (*stateless, *expired):
            self._stateless.pop(key, None)
            row = self._rows.pop(key, None)
            self.totals.replace(row, None)


def _counts(row: Row, message: Message, kind: str) -> Iterable[tuple[str, int]]:
    """Yields what a message adds to the counts of its minute: name and number."""
    match message:
        case Event():
            yield message.type, 1
        case Command():
            yield f"asked {message.connector}", 1
        case Outcome() if (command := row.open_commands.get(message.command_id or "")) is not None:
            yield f"{kind} {command.connector}", 1
            if message.at is not None:
                yield f"answer-ms {command.connector}", max(0, epoch_ms(message.at) - command.issued_ms)
        case _:
            return
