"""The domain and a second, independent model of R26 count interest alike, to the last minor unit.

`SETTLEMENT_DEEP=1` plays twenty times as many histories.
"""

import os
from itertools import count
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.reference_interest import Command, Interest, Payment
from tests.unit.domain import scenario
from worker.domain.decide import decide
from worker.domain.facts import Fact, OutcomeReported
from worker.domain.order import Order
from worker.domain.terms import Terms

DEEP = 20 if os.environ.get("SETTLEMENT_DEEP") else 1
TERMS = Terms(now_ms=scenario.START_MS, capabilities=scenario.CONNECTORS)
ORDER = {"V": "value", "O": "invoiced", "R": "returned", "K": "taken", "phase": "phase"}
PAYMENT = {
    "S": "settled", "P": "settling", "C": "voided", "D": "voiding", "F": "refunded", "G": "refunding", "open": "open",
}  # fmt: skip
RATES = st.sampled_from([0.1, 0.4, 0.5, 0.9, 1, 1.08, 1.1, 1.5, 3])
CHOSEN = st.tuples(st.integers(1, 400), RATES, st.sampled_from([0, 0, 2, 50]))  # r, A to r, and how far M is above A
KINDS = ["done"] * 5 + ["sale"] * 4 + ["return"] * 3 + ["change"] * 3 + ["short", "declined", "last sale", "cancel"]
STEPS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(1, 200), st.integers(0, 3)), max_size=20)


class Both:
    """An order that is decided by the domain and by the reference."""

    def __init__(self, payments: list[tuple[int, float, int]], more: int) -> None:
        chosen = []
        for name, (reference, rate, above) in zip("abc", payments, strict=False):
            value = max(1, round(reference * rate))
            chosen.append(Payment(name, value, reference, value + above))
        total = max(1, sum(payment.r for payment in chosen) + more)
        self.order, self.rules = Order(order_id=scenario.ORDER), Interest(total, chosen)
        self.ids: dict[Command, str] = {}
        self.numbers = count(1)
        payments_ = (scenario.pay(one.name, one.A, reference=one.r, cap=one.M) for one in chosen)
        self.judge(scenario.order_authorized(*payments_, value=total))

    def step(self, kind: str, value: int, which: int) -> None:
        rules, number = self.rules, next(self.numbers)
        match kind:
            case "sale" | "last sale" if rules.phase == "open" or not which:
                value = value if kind == "sale" else max(1, rules.V - rules.O)
                self.judge(scenario.out(str(number), value), rules.sold(number, value))
            case "return":
                self.judge(scenario.ret(str(number), value), rules.returned(number, value))
            case "change" if rules.phase == "open":
                increment = (2, 0, 0, 7)[which]
                self.judge(scenario.change(str(number), value, increment), rules.changed(value, increment))
            case "cancel" if rules.phase != "canceled":
                self.judge(scenario.cancel(), rules.canceled())
            case "done" | "short" | "declined" if open_ := [one for one in rules.commands if not one.ended]:
                first = list({one.payment: one for one in reversed(open_)}.values())
                command = first[which % len(first)]
                if command.operation != "settle" or kind == "done":
                    done = command.value
                else:
                    done = min(value, command.value) if kind == "short" else 0
                rules.answered(command, done)
                self.outcome("succeeded" if done else "declined", command, done, number)

    def outcome(self, kind: Any, command: Command, done: int, number: int) -> None:
        self.judge(OutcomeReported(
            order_id=scenario.ORDER, outcome=kind, command_id=self.ids[command], payment_id=command.payment.name,
            value=done, operation_id=f"op{number}" if done else None, at=f"at {number}",
        ))  # fmt: skip

    def judge(self, fact: Fact, refused: str | None = None) -> None:
        """Decides the fact and compares; `refused` is the rule by which the reference refuses it."""
        if not refused:
            self.rules.settle_down()
        decision = decide(self.order, fact, TERMS)
        self.order = decision.order

        assert decision.fate == ("refused" if refused else "applied")
        theirs = sorted(decision.commands, key=lambda command: command.payment_id)
        mine = sorted(self.rules.commands[len(self.ids) :], key=lambda command: command.payment.name)
        requested = [(one.operation, one.payment_id, one.value, one.reference) for one in theirs]
        assert requested == [(one.operation, one.payment.name, one.value, one.x) for one in mine]
        self.ids |= {my: their.command_id for my, their in zip(mine, theirs, strict=True)}
        payments = zip(self.order.payments, self.rules.payments, strict=True)
        for their, my, letters in (self.order, self.rules, ORDER), *((*both, PAYMENT) for both in payments):
            shown = {letter: getattr(their, name) for letter, name in letters.items()}
            assert shown == {letter: getattr(my, letter) for letter in letters}


@settings(max_examples=500 * DEEP, deadline=None, derandomize=DEEP == 1)
@given(st.lists(CHOSEN, min_size=1, max_size=3), st.integers(-2, 4), STEPS)
def test_every_history_with_interest_is_decided_like_the_reference_model(
    payments: list[tuple[int, float, int]], more: int, steps: list[tuple[str, int, int]]
) -> None:
    both = Both(payments, more)
    for step in steps:
        both.step(*step)
