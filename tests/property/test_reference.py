"""The domain and a second, independent model of the rules decide every history alike, in every mode."""

from itertools import chain

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.property.both import DEEP, SHARED, Both, named, promised
from tests.property.reference import Command, Payment, Reference
from tests.property.reference_total import Whole
from tests.unit.domain import scenario
from worker.domain.facts import Authorization, Fact, TimePassed
from worker.domain.terms import HOUR_MS, Terms

WEIGHTS = {
    "done": 7, "short": 2, "declined": 4, "unknown": 1, "manual": 2, "suspect": 1,
    "retry": 4, "resolved": 2, "resolved above": 1, "resolved below": 2, "not done": 2, "abandon": 2,
    "sale": 6, "last sale": 2, "return": 4, "change": 4, "capture": 4, "payment": 3, "cancel": 1, "time": 2,
}  # fmt: skip

AMOUNTS = st.tuples(st.integers(1, 9), st.sampled_from([0, 0, 2, 5]))  # A, and how far M is above it
CHOSEN = st.tuples(AMOUNTS, st.booleans(), st.sampled_from([None, None, None, 5, 12]), SHARED)  # by card, hours valid
SWITCHES = st.sampled_from([(False, False)] * 3 + [(True, False), (False, True)])  # card first, returns after invoiced
STEP = st.sampled_from([step for step, weight in WEIGHTS.items() for _ in range(weight)])
DAY = st.lists(st.tuples(STEP, st.integers(1, 6), st.integers(0, 3)), max_size=9)
Chosen = tuple[tuple[int, int], bool, int | None, list[int]]


class InEveryMode(Both):
    """With doubt, people's decisions, lapse, switches and recipients."""

    rules: Reference

    def __init__(self, by: str, payments: list[Chosen], more: int, switches: tuple[bool, bool]) -> None:
        chosen = [
            Payment(name, value, value + above, card=card, expires=hours, recipients=promised(value, shared))
            for name, ((value, above), card, hours, shared) in zip("abc", payments, strict=False)
        ]
        value = max(1, sum(payment.A for payment in chosen) + more)
        self.by, self.hour = by, 0
        rules = Reference(value, chosen, *switches) if by == "split" else Whole(value, chosen, *switches)
        if isinstance(rules, Whole):
            rules.hold = by == "hold"
        super().__init__(rules, *map(self.authorized, chosen))

    def authorized(self, payment: Payment) -> Authorization:
        return scenario.pay(
            payment.name, payment.A, cap=payment.M, by=self.by, in_hours=payment.expires,
            group="debitCard" if payment.card else "giftCard", recipients=named(payment.recipients),
        )  # fmt: skip

    def step(self, kind: str, value: int, which: int) -> None:
        """Decides a fact of this kind, if one is possible."""
        rules = self.rules
        match kind:
            case "sale" | "last sale" | "return" | "change" | "cancel":
                super().step(kind, value, which)
            case "capture" if not rules.abandoned_settles:  # whether it covers these or failures is left open
                payment = rules.payments[which % len(rules.payments)]
                rules.captures.append((payment, value))
                self.judge(scenario.auto(value, payment.name, f"g{next(self.numbers)}"))
            case "payment" if len(rules.payments) < 4:
                shared = promised(value, [2, 1] if which % 2 else [])
                payment = Payment(f"p{next(self.numbers)}", value, value + which, later=True, recipients=shared)
                rules.payments.append(payment)
                self.judge(scenario.added(self.authorized(payment)))
            case "done" | "short" | "declined" if first := self.first():
                command = first[which % len(first)]
                short = value if kind == "short" and command.operation != "cancel" else command.value
                done = 0 if kind == "declined" and command.state == "sent" else min(short, command.value)
                rules.answered(command, done)
                self.outcome("succeeded" if done else "declined", command, done)
            case _:
                self.decide_or_doubt(kind, value, which)

    def first(self) -> list[Command]:
        """I6: each payment's first command that may be answered; a suspect one may not."""
        line = {one.payment: one for one in reversed(self.rules.commands) if one.state not in ("ended", "manual")}
        return [one for one in line.values() if one.state != "suspect"]

    def decide_or_doubt(self, kind: str, value: int, which: int) -> None:
        """A person's decision about a command, an interim outcome (R33, R37, R39), or time that passes (R28)."""
        rules = self.rules
        interim = [one for one in rules.commands if one.state in ("unknown", "manual", "suspect")]
        failed = [one for one in rules.commands if one.missing and not one.given_up]
        match kind:
            case "time":
                self.hour += value
                if rules.time(self.hour):
                    self.judge(TimePassed(order_id=scenario.ORDER))
            case "unknown" | "manual" | "suspect" if first := [one for one in self.first() if one.state == "sent"]:
                command = first[which % len(first)]
                command.state = kind
                self.outcome(kind, command)
            case "retry" if again := failed + [one for one in interim if one.state != "manual"]:
                command = again[which % len(again)]
                rules.retried(command)
                self.outcome("retried", command)
            case "abandon" if failed and not rules.captures:
                command = failed[which % len(failed)]
                rules.abandoned(command)
                self.outcome("abandoned", command)
            case "resolved" | "resolved above" | "resolved below" | "not done" if interim:
                command = interim[which % len(interim)]
                above = kind == "resolved above" and command.operation == "settle" and not rules.abandoned_settles
                most = command.value + (min(value, command.payment.unused) if above else 0)
                done = {"not done": 0, "resolved below": min(value, most)}.get(kind, most)
                rules.answered(command, done)
                self.outcome("resolved", command, done)

    def terms(self) -> Terms:
        return Terms(
            now_ms=scenario.START_MS + self.hour * HOUR_MS, capabilities=scenario.CONNECTORS, expiry_lead_ms=0,
            returns="after_invoiced" if self.rules.after_invoiced else "at_once",
            refund_order="card_first" if self.rules.card_first else "lowest_first",
        )  # fmt: skip

    def judge(self, fact: Fact, refused: str | None = None) -> None:
        super().judge(fact, refused)
        if isinstance(self.rules, Whole):
            settles = {my: self.order.commands[their] for my, their in self.ids.items() if my.operation == "settle"}
            self.rules.agree({my: their.missing for my, their in settles.items()}, self.order.given_up)


LATER_PAYMENTS_AFTER_AN_ABANDONMENT = [
    ("sale", 2, 0), ("declined", 1, 0), ("abandon", 1, 0), ("payment", 1, 1), ("sale", 1, 0), ("payment", 6, 0),
    ("last sale", 1, 0),
]  # fmt: skip
A_CAPTURE_OF_WHAT_WAS_BOOKED_AS_VOIDED_AND_PARTLY_TOLD = [
    ("change", 4, 1), ("cancel", 1, 0), ("manual", 1, 0), ("resolved below", 2, 0), ("capture", 6, 0),
]  # fmt: skip


@pytest.mark.parametrize("by", ["split", "total", "hold"])
@settings(max_examples=400 * DEEP, deadline=None, derandomize=DEEP == 1)
@given(st.lists(CHOSEN, min_size=1, max_size=3), st.integers(-2, 4), SWITCHES, st.lists(DAY, max_size=9))
@example([((1, 0), False, None, [])], 4, (False, False), [LATER_PAYMENTS_AFTER_AN_ABANDONMENT])
@example([((9, 0), False, None, [1, 2])], 0, (False, False), [A_CAPTURE_OF_WHAT_WAS_BOOKED_AS_VOIDED_AND_PARTLY_TOLD])
def test_every_history_is_decided_like_the_reference_model(
    by: str, payments: list[Chosen], more: int, switches: tuple[bool, bool], days: list[list[tuple[str, int, int]]]
) -> None:
    both = InEveryMode(by, payments, more, switches)
    for step in chain(*days):
        both.step(*step)
