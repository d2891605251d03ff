"""The cost of a fact grows linearly with its order, so that a large order delays no other."""

import cProfile
import pstats
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from tests.unit.domain.scenario import Scenario, added, cancel, change, out, pay, ret
from worker.domain.decide import decide
from worker.domain.facts import Fact
from worker.domain.order import Order
from worker.domain.published import order_state
from worker.domain.terms import Capability, Terms

SMALL, LARGE = 50, 200
FIRST_FACTS: dict[str, Callable[[int], Fact]] = {
    "canceled": lambda number: cancel(),
    "invoiced": lambda number: out("1", 100 * number),
    "made cheaper": lambda number: change("c1", 100 * number - 1),
}
ORDERS: dict[str, Callable[[int], Scenario]] = {
    "returned": lambda number: with_facts(out("1", 100 * number), *(ret(f"r{one}", 100) for one in range(number))),
    "invoiced without money": lambda number: with_facts(*(out(f"{one}", 100) for one in range(number)), authorized=1),
    "invoiced and failed": lambda number: with_facts(*(out(f"{one}", 100) for one in range(number)), settle="declined"),
    "invoiced before it is asked": lambda number: with_facts(*(out(f"{one}", 100) for one in range(number)), by="hold"),
}


@pytest.mark.parametrize("outcome", ["succeeded", "declined"])
@pytest.mark.parametrize("first_fact", FIRST_FACTS)
def test_the_cost_of_an_outcome_grows_linearly_with_the_payments(first_fact: str, outcome: str) -> None:
    small, large = [calls_of_an_outcome(number, FIRST_FACTS[first_fact](number), outcome) for number in (SMALL, LARGE)]

    assert large / small < 2 * LARGE / SMALL


def calls_of_an_outcome(payments: int, first_fact: Fact, outcome: str) -> int:
    """The number of function calls that the last outcome takes."""
    scenario = Scenario(*[pay(f"p{number}", 100) for number in range(payments)])
    scenario.holding = True
    scenario.judge(first_fact)
    *others, last = scenario.issued
    order = scenario.order
    for command in others:
        order = decide(order, scenario.outcome(outcome, command), Terms(now_ms=1)).order
    fact = scenario.outcome(outcome, last)
    with cProfile.Profile() as profile:
        decide(order, fact, Terms(now_ms=2))
    return int(pstats.Stats(profile).total_calls)


@pytest.mark.parametrize("order", ORDERS)
def test_the_cost_of_a_snapshot_grows_linearly_with_the_invoices_and_returns(order: str) -> None:
    small, large = [steps(order_state, ORDERS[order](number).order) for number in (SMALL, LARGE)]

    assert large / small < 1.5 * LARGE / SMALL


@pytest.mark.parametrize("by", ["total", "hold"])
def test_the_cost_of_a_failed_settle_grows_linearly_with_the_invoices_it_covered(by: str) -> None:
    small, large = [steps_of_a_decline(number, by) for number in (SMALL, LARGE)]

    assert large / small < 1.5 * LARGE / SMALL


def steps_of_a_decline(invoices: int, by: str) -> int:
    """The steps of a declined settle that covers this number of invoices."""
    scenario = Scenario(pay("p1", 100 * invoices, by=by), checked=False)
    scenario.holding = True
    for number in range(invoices):
        scenario.judge(out(f"{number}", 100))
    fact = scenario.outcome("declined", scenario.issued[0])
    return steps(lambda order: decide(order, fact, Terms(now_ms=1)), scenario.order)


def test_the_cost_of_a_return_grows_linearly_with_the_payments_and_waiting_returns() -> None:
    small, large = [steps_of_a_waiting_return(number) for number in (SMALL, LARGE)]

    assert large / small < 1.5 * LARGE / SMALL


def steps_of_a_waiting_return(number: int) -> int:
    """The steps of a return after this number of unconfirmed payments and of waiting returns."""
    scenario = Scenario(*[pay(f"p{one}", number) for one in range(number)], checked=False)
    scenario.holding = True
    for fact in [out("1", number * number), *(ret(f"r{one}", 1) for one in range(number))]:
        scenario.judge(fact)
    return steps(lambda order: decide(order, ret("last", 1), Terms(now_ms=1)), scenario.order)


def test_the_cost_of_a_new_payment_grows_linearly_with_the_waiting_invoices() -> None:
    terms = Terms(now_ms=1, capabilities={"partial": Capability("PARTIAL")})
    waiting = [ORDERS["invoiced without money"](number).order for number in (SMALL, LARGE)]

    small, large = [steps(lambda order: decide(order, added(pay("p2", 10**6)), terms), order) for order in waiting]

    assert large / small < 1.5 * LARGE / SMALL


def with_facts(*facts: Fact, by: str = "partial", authorized: int = 1_000_000, settle: str = "ok") -> Scenario:
    """An order of 1,000,000, authorized for `authorized`, after these facts and the connector's answers."""
    scenario = Scenario(pay("p1", authorized, by=by), value=1_000_000, checked=False)
    scenario.script("settle", *[settle] * len(facts))
    for fact in facts:
        scenario.judge(fact)
        scenario.answer_all()
    return scenario


def steps(work: Callable[[Order], object], order: Order) -> int:
    """The number of opcodes that Python executes, also inside comprehensions.

    The work is done twice and counted once: since Python 3.12 code may go untraced until it is called again.
    """
    count = 0

    def trace(frame: FrameType, kind: str, _: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += kind == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work(order)
        count = 0
        work(order)
    finally:
        sys.settrace(before)
    return count
