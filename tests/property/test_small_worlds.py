"""Small worlds, visited whole: every order of arrival and every answer of the connector, for small sets of facts.

A world is what an order is, what has not arrived yet, and who has not answered yet. Two ways to the same world are
visited once. `SETTLEMENT_DEEP=1` visits the larger sets too; `pytest -s` says how many worlds there were.
"""

import os
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.unit.domain import laws
from tests.unit.domain.scenario import (
    CONNECTORS,
    ORDER,
    START_MS,
    auto,
    cancel,
    change,
    order_authorized,
    out,
    pay,
    ret,
)
from worker.domain.decide import decide
from worker.domain.facts import Authorization, Fact, OutcomeReported
from worker.domain.order import Command, Order
from worker.domain.terms import Terms

TERMS = Terms(now_ms=START_MS, capabilities=CONNECTORS)
ANSWERS = ("ok", "declined", "short", "unknown", "manual")
LIMIT = 2_000_000


class Small(NamedTuple):
    """One order, what will arrive for it, and which answers its connector gives."""

    name: str
    payments: tuple[Authorization, ...]
    facts: tuple[Fact, ...]
    answers: tuple[str, ...] = ANSWERS
    deep: bool = False


def two(by: str) -> tuple[Authorization, ...]:
    return pay("a", 7, by=by), pay("b", 3, by=by)


ONE = (pay("p1", 10),)
SMALL = [
    Small("two invoices and a discount", ONE, (out("1", 6), change("c", 2), out("2", 2))),
    Small("an invoice, its return and a cancellation", ONE, (out("1", 6), ret("r", 4), cancel())),
    Small("the gateway settles by itself", ONE, (out("1", 6), auto(10), change("c", 2)), ("ok", "declined", "short")),
    Small("the gateway and a cancellation", ONE, (change("c", 2), auto(10), cancel()), ("ok", "declined", "unknown")),
    Small("two payments", two("partial"), (out("1", 5), change("c", 2), ret("r", 2)), ("ok", "declined", "manual")),
    Small("TOTAL over two payments", two("total"), (out("1", 5), change("c", 2), out("2", 3), ret("r", 2))),
    Small("HOLD over two payments", two("hold"), (out("1", 5), change("c", 2), out("2", 3), ret("r", 2))),
    Small("TOTAL and the gateway", (pay("p1", 10, by="total"),), (out("1", 5), change("c", 2), auto(9), cancel())),
    Small("an increase waits", ONE, (out("1", 9), change("i", 0, 3), out("2", 4), change("d", 2)), ("ok", "declined")),
    Small("interest", (pay("p1", 11, reference=10),), (out("1", 3), out("2", 7), change("c", 1), ret("r", 2)),
          ("ok", "declined", "short")),
    Small("two payments and the gateway", two("partial"),
          (out("1", 5), auto(5, "a"), change("c", 2), ret("r", 2), cancel()), ("ok", "declined")),
    Small("six facts, two payments, all well", two("partial"),
          (out("1", 5), change("c", 2), ret("r", 2), auto(3, "b"), out("2", 3), change("i", 0, 1)), ("ok",)),
    Small("six facts, two payments", two("partial"),
          (out("1", 5), change("c", 2), ret("r", 2), auto(3, "b"), out("2", 3), cancel()), ("ok", "declined"),
          deep=True),
    Small("six facts, TOTAL", two("total"),
          (out("1", 5), change("c", 2), ret("r", 2), auto(3, "b"), out("2", 3), cancel()), ("ok", "declined"),
          deep=True),
    Small("six facts, HOLD", two("hold"),
          (out("1", 5), change("c", 2), ret("r", 2), auto(3, "b"), out("2", 3), cancel()), ("ok", "declined", "short"),
          deep=True),
]  # fmt: skip


def step(order: Order, fact: Fact) -> Order:
    """One decision, checked by itself: the books before are those that the order must have."""
    books = laws.books_of(order)
    decision = decide(order, fact, TERMS)
    laws.check_step(books, order, decision)
    return decision.order


def heads(order: Order) -> Iterator[Command]:
    """I6: of each payment the first command that has not ended; a manual one has left the line."""
    blocked: set[str] = set()
    for command in sorted(order.commands.values(), key=lambda one: one.sequence):
        if command.payment_id not in blocked and command.in_flight and command.state != "manual":
            blocked.add(command.payment_id)
            if command.state == "sent":
                yield command


def answered(command: Command, answer: str, by: str | None = None) -> OutcomeReported | None:
    """What the delivery worker, or a person, reports; ids depend on the command alone: worlds can meet again."""
    if answer == "short" and (command.value == 1 or command.operation == "cancel"):
        return None
    done = command.value if answer in ("ok", "resolved") else 1 if answer == "short" else 0
    return OutcomeReported(
        order_id=ORDER, outcome="succeeded" if answer in ("ok", "short") else answer,
        command_id=command.command_id, payment_id=command.payment_id, value=done, at="then", by=by, reason=by,
        operation_id=f"{command.operation}-{command.payment_id}-{command.sequence}" if done else None,
    )  # fmt: skip


def rest(order: Order) -> Order:
    """People resolve and give up what is open: then no world hangs."""
    for _ in range(100):
        open_ones = [one for one in order.commands.values() if one.in_flight]
        failed = [one for one in order.commands.values() if one.missing and not one.abandoned]
        suspects = [one for one in order.unbooked if one.suspect]
        fact: Fact | None
        if first := next(heads(order), None):
            fact = answered(first, "ok")
        elif open_ones:
            fact = answered(open_ones[0], "resolved", by="Ana")
        elif failed:
            fact = answered(failed[0], "abandoned", by="Ana")
        elif suspects:
            fact = OutcomeReported(order_id=ORDER, outcome="abandoned", settle_id=suspects[0].settle_id, by="Ana")
        else:
            return order
        assert fact is not None
        order = step(order, fact)
    raise AssertionError("never at rest")


def check_rest(order: Order) -> None:
    order = rest(order)
    waits = sum(one.amount for one in order.lacks if one.kind != "abandoned")
    if order.phase == "canceled":
        laws.holds("R22", order.taken == 0, "canceled, and kept", order.taken)
    elif order.invoiced == order.value and not waits and not order.demands:
        laws.holds("R5", order.phase == "finished", "all is done, and the order is", order.phase)
    laws.holds("R27", not order.unbooked, "an automatic settlement hangs", order.unbooked)


def visit(world: Small) -> tuple[int, int]:
    """All worlds that can be reached, each checked, and at its end brought to rest. How many there were."""
    first = step(Order(order_id=ORDER), order_authorized(*world.payments))
    todo: list[tuple[Order, tuple[int, ...]]] = [(first, tuple(range(len(world.facts))))]
    seen: set[tuple[bytes, tuple[int, ...]]] = set()
    steps = 0
    while todo:
        order, left = todo.pop()
        moves: list[tuple[Fact, tuple[int, ...]]] = [
            (world.facts[place], tuple(one for one in left if one != place)) for place in left
        ]
        for command in heads(order):
            moves += [(fact, left) for answer in world.answers if (fact := answered(command, answer))]
        if not moves:
            check_rest(order)
        for move, then in moves:
            after = step(order, move)
            steps += 1
            after.version = after.events = 0  # how often something was told is no part of a world
            key = laws.image(after), then
            if key not in seen:
                seen.add(key)
                todo.append((after, then))
        assert len(seen) < LIMIT, "not a small world"
    return len(seen), steps


@pytest.mark.parametrize("world", SMALL, ids=[one.name for one in SMALL])
def test_every_order_of_arrival_and_every_answer_keeps_the_invariants(world: Small) -> None:
    if world.deep and not os.environ.get("SETTLEMENT_DEEP"):
        pytest.skip("only with SETTLEMENT_DEEP=1")

    worlds, steps = visit(world)

    print(f"{world.name}: {worlds} worlds, {steps} steps")
    assert worlds >= 10
