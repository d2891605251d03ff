"""Folds the stored facts of every order again and compares with what is stored (I8)."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from operator import attrgetter, itemgetter
from typing import Any

import msgspec
import orjson

from worker.domain.decide import decide
from worker.domain.kept import decode_fact, decode_order, decode_terms, encode
from worker.domain.order import Order
from worker.ledger.pages import Row, pages_of_orders, rows_by_order
from worker.postgres.connecting import Connection

# What is compared of each; the names are those of the columns, of the message, and of the domain's values.
_ENTRY = ("payment_id", "debit", "credit", "amount", "rule", "command_id")
_EVENT = ("sequence", "type", "rule", "reason")
_COMMAND = ("command_id", "request_id", "payment_id", "sequence", "operation", "value")


class Rebuild:
    """One pass over the database. Call inside a repeatable read transaction with search_path `ledger`."""

    def __init__(self, connection: Connection, on_progress: Callable[[int], None] = lambda _: None) -> None:
        self._connection = connection
        self._on_progress = on_progress
        self.orders = 0
        self.facts = 0

    async def differences(self) -> AsyncIterator[str]:
        """Yields one sentence for each thing that the fold makes different from what is stored."""
        async for rows in pages_of_orders(self._connection):
            ids = [row["order_id"] for row in rows]
            facts, entries, events, commands = [
                await rows_by_order(self._connection, f"{name}_of_orders", ids)
                for name in ("facts", "entries", "events", "commands")
            ]
            for row in rows:
                order_id = row["order_id"]
                self.orders += 1
                self.facts += len(facts[order_id])
                fold = _Fold(Order(order_id))
                problems = [*fold.run(facts[order_id])]
                problems += fold.compare(row, entries[order_id], events[order_id], commands[order_id])
                for sentence in problems:
                    yield f"order {order_id}: {sentence}"
            self._on_progress(self.orders)


class _Fold:
    def __init__(self, order: Order) -> None:
        self.order = order
        self.entries: list[tuple[Any, ...]] = []
        self.events: list[tuple[Any, ...]] = []
        self.commands: list[tuple[Any, ...]] = []

    def run(self, facts: Sequence[Row]) -> Iterator[str]:
        for number, row in enumerate(facts, 1):
            if row["sequence"] != number:
                yield f"fact {number} is missing"
                return
            try:
                decision = decide(self.order, decode_fact(row["fact"]), decode_terms(row["terms"]))
            except Exception as problem:  # noqa: BLE001 - a fold that fails is what this looks for
                yield f"fact {number} cannot be folded again: {type(problem).__name__}: {problem}"
                return
            if decision.fate != row["fate"]:
                yield f"fact {number} was {row['fate']}, folded again it is {decision.fate}"
            self.order = decision.order
            self.entries += [(number, *attrgetter(*_ENTRY)(entry)) for entry in decision.entries]
            self.events += map(attrgetter(*_EVENT), decision.events)
            self.commands += map(attrgetter(*_COMMAND), decision.commands)

    def compare(
        self, row: Row, entries: Sequence[Row], events: Sequence[Row], commands: Sequence[Row]
    ) -> Iterator[str]:
        if row["facts"] and not _is_stored(self.order, row["document"]):
            yield "the fold of its facts is not the stored state"
        if list(map(itemgetter("fact", *_ENTRY), entries)) != self.entries:
            yield "the fold of its facts makes other entries than the stored ones"
        if [itemgetter(*_EVENT)(orjson.loads(event["message"])) for event in events] != self.events:
            yield "the fold of its facts makes another timeline than the stored one"
        if sorted(map(itemgetter(*_COMMAND), commands)) != sorted(self.commands):
            yield "the fold of its facts asks for other commands than the stored ones"


def _is_stored(order: Order, document: bytes) -> bool:
    """Whether the document holds this order in our encoding; one of an older program may lack newer fields."""
    return order == decode_order(document) and encode(msgspec.json.decode(document)) == document
