"""What one outcome costs grows with its order, not with the square of it: a large order stops no other."""

import cProfile
import pstats
from collections.abc import Callable

import pytest

from tests.unit.domain.world import World, cancel, change, out, pay
from worker.domain.decide import decide
from worker.domain.facts import Fact
from worker.domain.terms import Terms

SMALL, LARGE = 50, 200
ASKED: dict[str, Callable[[int], Fact]] = {
    "canceled": lambda number: cancel(),
    "invoiced": lambda number: out("1", 100 * number),
    "made cheaper": lambda number: change("c1", 100 * number - 1),
}


@pytest.mark.parametrize("outcome", ["succeeded", "declined"])
@pytest.mark.parametrize("asked", ASKED)
def test_what_an_outcome_costs_grows_no_faster_than_the_payments_of_its_order(asked: str, outcome: str) -> None:
    small, large = [calls_of_an_outcome(number, ASKED[asked](number), outcome) for number in (SMALL, LARGE)]

    assert large / small < 2 * LARGE / SMALL


def calls_of_an_outcome(payments: int, asked: Fact, outcome: str) -> int:
    """How many calls the last of all outcomes takes."""
    world = World(*[pay(f"p{number}", 100) for number in range(payments)])
    world.holding = True
    world.judge(asked)
    *others, last = world.issued
    order = world.order
    for command in others:
        order = decide(order, world.outcome(outcome, command), Terms(now_ms=1)).order
    fact = world.outcome(outcome, last)
    with cProfile.Profile() as profile:
        decide(order, fact, Terms(now_ms=2))
    return int(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]
