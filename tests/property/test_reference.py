"""The domain and a second, independent model of the rules decide every history of a PARTIAL order alike.

`SETTLEMENT_DEEP=1` plays twenty times as many histories.
"""

import os
from itertools import chain, count
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.reference import Command, Payment, Reference
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
WEIGHTS = {
    "done": 7, "short": 2, "declined": 4, "retry": 4,
    "sale": 6, "last sale": 1, "return": 4, "change": 4, "capture": 5, "payment": 3, "cancel": 1,
}  # fmt: skip

CAPPED = st.tuples(st.integers(1, 9), st.sampled_from([0, 0, 2, 5]))  # A, and how far M is above it
STEP = st.sampled_from([step for step, weight in WEIGHTS.items() for _ in range(weight)])
DAY = st.lists(st.tuples(STEP, st.integers(1, 6), st.integers(0, 3)), max_size=9)


class Both:
    """An order that is decided by the domain and by the reference."""

    def __init__(self, payments: list[tuple[int, int]], more: int) -> None:
        chosen = [Payment(name, value, value + above) for name, (value, above) in zip("abc", payments, strict=False)]
        value = max(1, sum(payment.A for payment in chosen) + more)
        self.order, self.rules = Order(order_id=scenario.ORDER), Reference(value, chosen)
        self.ids: dict[Command, str] = {}
        self.numbers = count(1)
        self.judge(
            scenario.order_authorized(
                *(scenario.pay(payment.name, payment.A, cap=payment.M) for payment in chosen), value=value
            )
        )

    def step(self, kind: str, value: int, which: int) -> None:
        """Decides a fact of this kind; if none is possible, the connector answers a command."""
        rules, number = self.rules, next(self.numbers)
        match kind:
            case "sale" | "last sale" if rules.phase == "open" or not which:
                value = value if kind == "sale" else max(1, rules.V - rules.O)
                self.judge(scenario.out(str(number), value), rules.sold(number, value))
            case "return":
                self.judge(scenario.ret(str(number), value), rules.returned(number, value))
            case "change" if rules.phase == "open" or not which:
                increment = (2, 0, 0, 7)[which]
                self.judge(scenario.change(str(number), value, increment), rules.changed(value, increment))
            case "cancel" if rules.phase != "canceled":
                self.judge(scenario.cancel(), rules.canceled())
            case "capture":
                payment = rules.payments[which % len(rules.payments)]
                rules.captures.append((payment, value))
                self.judge(scenario.auto(value, payment.name, f"g{number}"))
            case "payment" if len(rules.payments) < 4:
                rules.payments.append(Payment(f"p{number}", value, value + which, later=True))
                self.judge(scenario.added(scenario.pay(f"p{number}", value, cap=value + which)))
            case "retry" if failed := [one for one in rules.commands if one.missing]:
                command = failed[which % len(failed)]
                rules.retried(command)
                self.outcome("retried", command)
            case _ if first := {one.payment: one for one in reversed(rules.commands) if not one.ended}:  # I6
                command = list(first.values())[which % len(first)]
                short = value if kind == "short" and command.operation != "cancel" else command.value
                done = 0 if kind == "declined" else min(short, command.value)
                rules.answered(command, done)
                self.outcome("succeeded" if done else "declined", command, done)

    def outcome(self, kind: Any, command: Command, done: int = 0) -> None:
        number = next(self.numbers)
        self.judge(OutcomeReported(
            order_id=scenario.ORDER, outcome=kind, command_id=self.ids[command], payment_id=command.payment.name,
            value=done, operation_id=f"op{number}" if done else None, at=f"at {number}", by="Ana", reason="seen",
        ))  # fmt: skip

    def judge(self, fact: Fact, refused: str | None = None) -> None:
        """Decides the fact and compares; `refused` is the rule by which the reference refuses it."""
        if not refused:
            self.rules.settle_down()
        decision = decide(self.order, fact, TERMS)
        self.order = decision.order

        assert decision.fate == ("refused" if refused else "applied")
        assert not refused or (decision.refusal and decision.refusal.rule == refused)
        theirs = sorted(decision.commands, key=lambda command: command.payment_id)
        mine = sorted(self.rules.commands[len(self.ids) :], key=lambda command: command.payment.name)
        requested = [(command.operation, command.payment_id, command.value) for command in theirs]
        assert requested == [(command.operation, command.payment.name, command.value) for command in mine]
        self.ids |= {my: their.command_id for my, their in zip(mine, theirs, strict=True)}
        payments = zip(self.order.payments, self.rules.payments, strict=True)
        for their, my, letters in (self.order, self.rules, ORDER), *((*both, PAYMENT) for both in payments):
            shown = {letter: getattr(their, name) for letter, name in letters.items()}
            assert shown == {letter: getattr(my, letter) for letter in letters}


@settings(max_examples=800 * DEEP, deadline=None, derandomize=DEEP == 1)
@given(st.lists(CAPPED, min_size=1, max_size=3), st.integers(-2, 4), st.lists(DAY, max_size=9))
def test_every_history_is_decided_like_the_reference_model(
    payments: list[tuple[int, int]], more: int, days: list[list[tuple[str, int, int]]]
) -> None:
    both = Both(payments, more)
    for step in chain(*days):
        both.step(*step)
