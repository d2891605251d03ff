"""Plays one order through the domain and through a reference model, and compares the two after every fact."""

import os
from itertools import count
from typing import Any, ClassVar

from hypothesis import strategies as st

from tests.property.reference_recipients import Recipients, divided
from tests.unit.domain import scenario
from worker.domain.decide import decide
from worker.domain.facts import Authorization, Fact, OutcomeReported, Recipient
from worker.domain.order import Order
from worker.domain.terms import Terms

# With SETTLEMENT_DEEP=1, twenty times as many histories are played.
DEEP = 20 if os.environ.get("SETTLEMENT_DEEP") else 1
SHARED = st.lists(st.integers(1, 4), max_size=3)  # by recipients, in these proportions
# A letter of the reference → the field of the domain that must be equal.
ORDER = {"V": "value", "O": "invoiced", "R": "returned", "K": "taken", "phase": "phase"}
PAYMENT = {
    "S": "settled", "P": "settling", "C": "voided", "D": "voiding", "F": "refunded", "G": "refunding", "open": "open",
}  # fmt: skip


def promised(value: int, weights: list[int]) -> Recipients:
    """Recipients of a payment in these proportions, with commissions."""
    return Recipients(*((part, part * 5 // (place + 2)) for place, part in enumerate(divided(value, weights))))


def named(recipients: Recipients) -> tuple[Recipient, ...]:
    return tuple(scenario.recipient(str(place), *pair) for place, pair in enumerate(recipients.pairs))


class Both:
    """An order that is decided by the domain and by a reference model."""

    COMMAND: ClassVar = {"operation": "operation", "value": "value"}

    def __init__(self, rules: Any, *payments: Authorization) -> None:
        self.order, self.rules = Order(order_id=scenario.ORDER), rules
        self.ids: dict[Any, str] = {}
        self.numbers = count(1)
        self.judge(scenario.order_authorized(*payments, value=rules.V))

    def terms(self) -> Terms:
        return Terms(now_ms=scenario.START_MS, capabilities=scenario.CONNECTORS)

    def step(self, kind: str, value: int, which: int) -> None:
        """Decides a sale, a return, a change or a cancellation, if it is possible."""
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

    def outcome(self, kind: Any, command: Any, done: int = 0, operation_id: str = "") -> None:
        self.judge(self.reported(kind, command, done, operation_id))

    def reported(self, kind: Any, command: Any, done: int, operation_id: str = "") -> OutcomeReported:
        number = next(self.numbers)
        return OutcomeReported(
            order_id=scenario.ORDER, outcome=kind, command_id=self.ids[command], payment_id=command.payment.name,
            value=done, operation_id=operation_id or f"op{number}", at=f"at {number}", by="Ana", reason="seen",
        )  # fmt: skip

    def judge(self, fact: Fact, refused: str | None = None) -> None:
        """Decides the fact and compares; `refused` is the rule by which the reference refuses it."""
        if not refused:
            self.rules.settle_down()
        decision = decide(self.order, fact, self.terms())
        self.order = decision.order

        assert decision.fate == ("refused" if refused else "applied")
        assert not refused or (decision.refusal and decision.refusal.rule == refused)
        theirs = sorted(decision.commands, key=lambda command: command.payment_id)
        mine = sorted(self.rules.commands[len(self.ids) :], key=lambda command: command.payment.name)
        assert [command.payment_id for command in theirs] == [command.payment.name for command in mine]
        self.ids |= {my: their.command_id for my, their in zip(mine, theirs, strict=True)}
        compared: list[tuple[Any, Any, dict[str, str]]] = [(self.order, self.rules, ORDER)]
        compared += [(*both, PAYMENT) for both in zip(self.order.payments, self.rules.payments, strict=True)]
        compared += [(*both, self.COMMAND) for both in zip(theirs, mine, strict=True)]
        for their, my, letters in compared:
            shown = {letter: getattr(their, name) for letter, name in letters.items()}
            assert shown == {letter: getattr(my, letter) for letter in letters}
        for payment, my in zip(self.order.payments, self.rules.payments, strict=True):
            assert [(one.rest, one.commission_rest) for one in payment.shares] == my.recipients.pairs
        for command, my in zip(theirs, mine, strict=True):
            assert [*command.shares] == my.parts.pairs
