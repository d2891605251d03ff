"""Visits all states of small orders: every order of arrival and every answer of the connector, for small sets of facts.

A state is an order, the facts that have not arrived yet, and the commands without an answer. Two ways to the same state
are continued once. `SETTLEMENT_DEEP=1` visits the larger sets too; `pytest -s` prints the number of states.
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
    """An order, the facts that will arrive, and the possible answers of its connector."""

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
    """The order after one decision, which is checked with the balances that the order must have before it."""
    books = laws.books_of(order)
    decision = decide(order, fact, TERMS)
    laws.check_step(books, order, decision)
    return decision.order


def heads(order: Order) -> Iterator[Command]:
    """I6: the first unfinished command of each payment; manual commands have left the queue."""
    blocked: set[str] = set()
    for command in sorted(order.commands.values(), key=lambda one: one.sequence):
        if command.payment_id not in blocked and command.in_flight and command.state != "manual":
            blocked.add(command.payment_id)
            if command.state == "sent":
                yield command


def answered(command: Command, answer: str, by: str | None = None) -> OutcomeReported | None:
    """The outcome, or None if impossible; ids depend on the command alone, so that equal states are recognized."""
    if answer == "short" and (command.value == 1 or command.operation == "cancel"):
        return None
    done = command.value if answer in ("ok", "resolved") else 1 if answer == "short" else 0
    return OutcomeReported(
        order_id=ORDER, outcome="succeeded" if answer in ("ok", "short") else answer,
        command_id=command.command_id, payment_id=command.payment_id, value=done, at="then", by=by, reason=by,
        operation_id=f"{command.operation}-{command.payment_id}-{command.sequence}" if done else None,
    )  # fmt: skip


def rest(order: Order) -> Order:
    """The order after the connector and operators have ended everything that is open."""
    for _ in range(100):
        in_flight = [command for command in order.commands.values() if command.in_flight]
        failed = [command for command in order.commands.values() if command.missing and not command.abandoned]
        suspects = [one for one in order.unbooked if one.suspect]
        fact: Fact | None
        if first := next(heads(order), None):
            fact = answered(first, "ok")
        elif in_flight:
            fact = answered(in_flight[0], "resolved", by="Ana")
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
    """Checks all reachable states, and brings final ones to rest; returns the numbers of states and steps."""
    first = step(Order(order_id=ORDER), order_authorized(*world.payments))
    todo: list[tuple[Order, tuple[int, ...]]] = [(first, tuple(range(len(world.facts))))]
    seen: set[tuple[bytes, tuple[int, ...]]] = set()
    steps = 0
    while todo:
        order, left = todo.pop()
        moves: list[tuple[Fact, tuple[int, ...]]] = [
            (world.facts[place], tuple(other for other in left if other != place)) for place in left
        ]
        for command in heads(order):
            moves += [(fact, left) for answer in world.answers if (fact := answered(command, answer))]
        if not moves:
            check_rest(order)
        for move, then in moves:
            after = step(order, move)
            steps += 1
            after.version = after.events = 0  # counters are not part of a state
            key = laws.image(after), then
            if key not in seen:
                seen.add(key)
                todo.append((after, then))
        assert len(seen) < LIMIT, "too many states"
    return len(seen), steps


@pytest.mark.parametrize("world", SMALL, ids=[world.name for world in SMALL])
def test_every_order_of_arrival_and_every_answer_keeps_the_invariants(world: Small) -> None:
    if world.deep and not os.environ.get("SETTLEMENT_DEEP"):
        pytest.skip("only with SETTLEMENT_DEEP=1")

    states, steps = visit(world)

    print(f"{world.name}: {states} states, {steps} steps")
    assert states >= 10
