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

    def __init__(self, connection: Connection, told: Callable[[int], None] = lambda _: None) -> None:
        self._connection = connection
        self._told = told
        self.orders = 0
        self.facts = 0

    async def differences(self) -> AsyncIterator[str]:
        """One sentence for each thing that the fold makes different from what is stored."""
        last = ""
        while rows := await self._connection.fetch(_SQL["page_of_orders"], last, PAGE_ORDERS):
            ids = [row["order_id"] for row in rows]
            facts, entries, events, commands = [
                _grouped(await self._connection.fetch(_SQL[query], ids))
                for query in ("facts_of_orders", "entries_of_orders", "events_of_orders", "commands_of_orders")
            ]
            for row in rows:
                one = row["order_id"]
                self.orders += 1
                self.facts += len(facts.get(one, ()))
                fold = _Fold(Order(one))
                problems = [*fold.run(facts.get(one, []))]
                problems += fold.compare(row, entries.get(one, []), events.get(one, []), commands.get(one, []))
                for sentence in problems:
                    yield f"order {one}: {sentence}"
            last = ids[-1]
            self._told(self.orders)


class _Fold:
    def __init__(self, order: Order) -> None:
        self.order = order
        self.entries: list[EntryRow] = []
        self.events: list[EventRow] = []
        self.commands: list[CommandRow] = []

    def run(self, facts: Sequence[Any]) -> Iterator[str]:
        for place, one in enumerate(facts, 1):
            if one["sequence"] != place:
                yield f"fact {place} is missing"
                return
            try:
                decision = decide(self.order, decode_fact(one["fact"]), decode_terms(one["terms"]))
            except Exception as problem:  # noqa: BLE001 - a fold that fails is what is looked for
                yield f"fact {place} cannot be folded again: {type(problem).__name__}: {problem}"
                return
            if decision.fate != one["fate"]:
                yield f"fact {place} was {one['fate']}, folded again it is {decision.fate}"
            self._take(place, decision)

    def _take(self, place: int, decision: Decision) -> None:
        self.order = decision.order
        self.entries += [
            (place, one.payment_id, one.debit, one.credit, one.amount, one.rule, one.command_id)
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
            yield "the fold of its facts tells another timeline than the stored one"
        if sorted(tuple(one[name] for name in _COMMAND) for one in commands) != sorted(self.commands):
            yield "the fold of its facts asks for other commands than the stored ones"


def _is_stored(order: Order, document: bytes) -> bool:
    """Whether a document says this, once written as we write it; an older program may have left out newer fields."""
    return order == decode_order(document) and encode(msgspec.json.decode(document)) == document


def _grouped(rows: Sequence[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for row in rows:
        found.setdefault(row["order_id"], []).append(row)
    return found
