"""Folds the stored facts of every order again and compares with what is stored (I8)."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import msgspec
import orjson

from worker.domain.decide import decide
from worker.domain.decision import Decision
from worker.domain.kept import decode_fact, decode_order, decode_terms, encode
from worker.domain.order import Order
from worker.postgres.connecting import Connection
from worker.postgres.queries import load

_SQL = load("worker.ledger")
PAGE_ORDERS = 500

EntryRow = tuple[int, str, str, str, int, str, str]
EventRow = tuple[int, str, str, str]
CommandRow = tuple[str, str, str, int, str, int]
_ENTRY = ("fact", "payment_id", "debit", "credit", "amount", "rule", "command_id")
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
        last = ""
        while rows := await self._connection.fetch(_SQL["page_of_orders"], last, PAGE_ORDERS):
            ids = [row["order_id"] for row in rows]
            facts, entries, events, commands = [
                _grouped(await self._connection.fetch(_SQL[query], ids))
                for query in ("facts_of_orders", "entries_of_orders", "events_of_orders", "commands_of_orders")
            ]
            for row in rows:
                order_id = row["order_id"]
                self.orders += 1
                self.facts += len(facts.get(order_id, ()))
                fold = _Fold(Order(order_id))
                problems = [*fold.run(facts.get(order_id, []))]
                problems += fold.compare(
                    row, entries.get(order_id, []), events.get(order_id, []), commands.get(order_id, [])
                )
                for sentence in problems:
                    yield f"order {order_id}: {sentence}"
            last = ids[-1]
            self._on_progress(self.orders)


class _Fold:
    def __init__(self, order: Order) -> None:
        self.order = order
        self.entries: list[EntryRow] = []
        self.events: list[EventRow] = []
        self.commands: list[CommandRow] = []

    def run(self, facts: Sequence[Any]) -> Iterator[str]:
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
            self._add(number, decision)

    def _add(self, fact: int, decision: Decision) -> None:
        self.order = decision.order
        self.entries += [
            (fact, one.payment_id, one.debit, one.credit, one.amount, one.rule, one.command_id)
            for one in decision.entries
        ]
        self.events += [(one.sequence, one.type, one.rule, one.reason) for one in decision.events]
        self.commands += [
            (one.command_id, one.request_id, one.payment_id, one.sequence, one.operation, one.value)
            for one in decision.commands
        ]

    def compare(
        self, row: Any, entries: Sequence[Any], events: Sequence[Any], commands: Sequence[Any]
    ) -> Iterator[str]:
        if row["facts"] and not _is_stored(self.order, row["document"]):
            yield "the fold of its facts is not the stored state"
        if [tuple(one[name] for name in _ENTRY) for one in entries] != self.entries:
            yield "the fold of its facts makes other entries than the stored ones"
        stored = [orjson.loads(one["message"]) for one in events]
        if [(one["sequence"], one["type"], one["rule"], one["reason"]) for one in stored] != self.events:
            yield "the fold of its facts makes another timeline than the stored one"
        if sorted(tuple(one[name] for name in _COMMAND) for one in commands) != sorted(self.commands):
            yield "the fold of its facts asks for other commands than the stored ones"


def _is_stored(order: Order, document: bytes) -> bool:
    """Whether the document holds this order in our encoding; one of an older program may lack newer fields."""
    return order == decode_order(document) and encode(msgspec.json.decode(document)) == document


def _grouped(rows: Sequence[Any]) -> dict[str, list[Any]]:
    by_order: dict[str, list[Any]] = {}
    for row in rows:
        by_order.setdefault(row["order_id"], []).append(row)
    return by_order
