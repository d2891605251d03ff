"""The domain and a second, independent model of the rules decide every history alike, in every mode."""

from collections import Counter
from itertools import chain, product
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.property.both import DEEP, SHARED, Both, named, promised
from tests.property.reference import Capture, Command, Payment, Reference
from tests.property.reference_total import Whole
from tests.unit.domain import scenario
from worker.domain.decide import decide
from worker.domain.facts import Authorization, Fact, TimePassed
from worker.domain.order import Order
from worker.domain.published import order_state
from worker.domain.terms import HOUR_MS, Terms

WEIGHTS = {
    "done": 7, "short": 2, "declined": 4, "unknown": 1, "manual": 2, "suspect": 1,
    "retry": 4, "resolved": 2, "resolved above": 1, "resolved below": 2, "not done": 2, "abandon": 2,
    "sale": 6, "last sale": 2, "return": 4, "change": 4, "payment": 3, "cancel": 1, "time": 2,
    "capture": 4, "its capture": 4, "own settle": 8,
}  # fmt: skip

FOR_PEOPLE = ("manual", "suspect", "doubted")
AMOUNTS = st.tuples(st.integers(1, 9), st.sampled_from([0, 0, 2, 5]))  # A, and how far M is above it
CHOSEN = st.tuples(AMOUNTS, st.booleans(), st.sampled_from([None, None, None, 5, 12]), SHARED)  # by card, hours valid
SWITCHES = st.sampled_from([(False, False)] * 3 + [(True, False), (False, True)])  # card first, returns after invoiced
STEP = st.sampled_from([step for step, weight in WEIGHTS.items() for _ in range(weight)])
DAY = st.lists(st.tuples(STEP, st.integers(1, 6), st.integers(0, 3)), max_size=9)
Chosen = tuple[tuple[int, int], bool, int | None, list[int]]


def visible(order: Order) -> tuple[Any, ...]:
    """What people see of it, and what its recipients have still to receive."""
    state = order_state(order) | {"version": 0}
    attention: Counter[tuple[Any, ...]] = Counter()
    for one in state.pop("attention"):
        attention[one["code"], one["commandId"], one["invoiceNumber"], one["settleId"]] += one["amount"]
    return state, attention, order.given_up, [payment.shares for payment in order.payments]


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
        self.gateway: dict[Capture, str] = {}  # the ids of automatic settlements
        self.claimed = False  # one turned out to be our own settle
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
            case "capture":
                self.capture(Capture(rules.payments[which % len(rules.payments)], value))
            case "its capture" if first := [one for one in self.first() if one.operation == "settle"]:
                command = first[which % len(first)]
                self.capture(Capture(command.payment, command.value if which else min(value, command.value)))
            case "own settle" if own := self.own():
                capture, command = own[which % len(own)]
                done, name = capture.value if which > 1 else min(value, command.value), self.gateway[capture]
                kind = "resolved" if command.state in FOR_PEOPLE else "succeeded"
                rules.claimed(capture, command, done)
                self.outcome(kind, command, done, name)
                if command.ended:
                    del self.gateway[capture]
                    self.claimed = True
            case "payment" if len(rules.payments) < 4:
                shared = promised(value, [2, 1] if which % 2 else [])
                payment = Payment(f"p{next(self.numbers)}", value, value + which, later=True, recipients=shared)
                rules.payments.append(payment)
                self.judge(scenario.added(self.authorized(payment)))
            case "done" | "short" | "declined" if first := self.first():
                command = first[which % len(first)]
                short = value if kind == "short" and command.operation != "cancel" else command.value
                done = 0 if kind == "declined" and command.state == "sent" else min(short, command.value)
                if command.operation == "settle" and done:
                    self.check_order_of_arrival(command, done)
                rules.answered(command, done)
                self.outcome("succeeded" if done else "declined", command, done)
            case _:
                self.decide_or_doubt(kind, value, which)

    def capture(self, capture: Capture) -> None:
        if self.left_open(capture.payment):
            return
        self.gateway[capture] = f"g{next(self.numbers)}"
        self.rules.captures.append(capture)
        self.judge(scenario.auto(capture.value, capture.payment.name, self.gateway[capture]))

    def check_order_of_arrival(self, command: Command, done: int) -> None:
        """R27: if the gateway reports our settle too, before or after the reply, it counts once."""
        reply = self.reported("succeeded", command, done, "same")
        report = scenario.auto(done, command.payment.name, "same")
        reported, replied = (decide(self.order, fact, self.terms()) for fact in (report, reply))
        assert decide(replied.order, report, self.terms()).fate == "duplicate"
        if not reported.commands:  # else it may have led to a refund
            assert visible(decide(reported.order, reply, self.terms()).order) == visible(replied.order)

    def own(self) -> list[tuple[Capture, Command]]:
        """Each capture with the settles that may turn out to be it, if the reference knows what follows."""
        rules = self.rules
        if self.by != "split" and (rules.abandoned_settles or any(one.missing for one in rules.lacks)):
            return []
        answered = self.first() + [one for one in rules.commands if one.state in FOR_PEOPLE]
        return [
            (capture, command)
            for capture, command in product(self.gateway, answered)
            if command.operation == "settle" and command.payment is capture.payment and command.value >= capture.value
            if all(one is capture for one in rules.captures) and (self.by == "split" or not capture.covered)
        ]

    def left_open(self, payment: Payment) -> bool:
        """Whether the reference does not say which of several amounts more money on the payment covers first."""
        lacks = [one for one in self.rules.lacks if one.missing]
        if self.by == "split":
            return self.claimed and len({one.invoice for one in lacks}) < len(lacks)
        others = self.rules.waiting > 0 and any(one.payment is not payment for one in lacks)
        return others or self.rules.abandoned_settles > 0

    def first(self) -> list[Command]:
        """I6: each payment's first command that may be answered; a suspect one may not."""
        line = {one.payment: one for one in reversed(self.rules.commands) if one.state not in ("ended", "manual")}
        return [one for one in line.values() if one.state not in ("suspect", "doubted")]

    def decide_or_doubt(self, kind: str, value: int, which: int) -> None:
        """A person's decision about a command, an interim outcome (R33, R37, R39), or time that passes (R28)."""
        rules = self.rules
        interim = [one for one in rules.commands if one.state in ("unknown", *FOR_PEOPLE)]
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
                most = command.value
                if kind == "resolved above" and command.operation == "settle" and not self.left_open(command.payment):
                    most += min(value, command.payment.unused)
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
A_CAPTURE_OF_OURS_THAT_LED_TO_A_REFUND = [
    ("last sale", 1, 0), ("done", 6, 3), ("its capture", 1, 0), ("own settle", 4, 2),
]  # fmt: skip
A_CAPTURE_OF_WHAT_WAS_BOOKED_AS_VOIDED_TWICE = [("change", 2, 1), ("change", 3, 1), ("capture", 7, 0)]
A_CAPTURE_OF_WHAT_WAS_BOOKED_AS_VOIDED_AND_PARTLY_TOLD = [
    ("change", 4, 1), ("cancel", 1, 0), ("manual", 1, 0), ("resolved below", 2, 0), ("capture", 6, 0),
]  # fmt: skip


@pytest.mark.parametrize("by", ["split", "total", "hold"])
@settings(max_examples=400 * DEEP, deadline=None, derandomize=DEEP == 1)
@given(st.lists(CHOSEN, min_size=1, max_size=3), st.integers(-2, 4), SWITCHES, st.lists(DAY, max_size=9))
@example([((1, 0), False, None, [])], 4, (False, False), [LATER_PAYMENTS_AFTER_AN_ABANDONMENT])
@example([((9, 0), False, None, [1, 2])], 0, (False, False), [A_CAPTURE_OF_WHAT_WAS_BOOKED_AS_VOIDED_TWICE])
@example([((9, 0), False, None, [1, 2])], 0, (False, False), [A_CAPTURE_OF_WHAT_WAS_BOOKED_AS_VOIDED_AND_PARTLY_TOLD])
@example(
    [((1, 0), False, None, []), ((2, 0), False, None, [])], -1, (False, False), [A_CAPTURE_OF_OURS_THAT_LED_TO_A_REFUND]
)
def test_every_history_is_decided_like_the_reference_model(
    by: str, payments: list[Chosen], more: int, switches: tuple[bool, bool], days: list[list[tuple[str, int, int]]]
) -> None:
    both = InEveryMode(by, payments, more, switches)
    for step in chain(*days):
        both.step(*step)
