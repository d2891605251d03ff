"""Random histories of facts, answers and decisions keep the laws at every step (I1–I8) and come to rest (R5, R22).

`SETTLEMENT_DEEP=1` plays twenty times as many.
"""

import os
from collections.abc import Callable
from itertools import permutations
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.unit.domain import laws
from tests.unit.domain.scenario import (
    START_MS,
    Scenario,
    added,
    auto,
    cancel,
    change,
    out,
    pay,
    recipient,
    ret,
    tracking,
)
from worker.domain.facts import Authorization, Fact, OutcomeReported, TimePassed
from worker.domain.order import Command
from worker.domain.terms import HOUR_MS

DEEP = 20 if os.environ.get("SETTLEMENT_DEEP") else 1

AMOUNTS = st.integers(1, 12)
BY = st.sampled_from(["partial", "partial", "partial", "total", "hold", "split", "legacy"])


@st.composite
def payments(draw: st.DrawFn, payment_id: str) -> Authorization:
    value = draw(st.integers(1, 24))
    reference = draw(st.one_of(st.just(value), st.just(value), st.integers(1, 30)))
    cap = value + draw(st.sampled_from([0, 0, 0, 3, 9]))
    split: tuple[Any, ...] = ()
    if draw(st.booleans()) and value >= 3 and draw(st.booleans()):
        first = draw(st.integers(0, value))
        split = (recipient("x", first, commission=first // 3), recipient("y", value - first))
    return pay(
        payment_id, value, reference=reference, cap=cap, by=draw(BY), recipients=split,
        in_hours=draw(st.sampled_from([None, None, None, 0, 30, 60])),
        group=draw(st.sampled_from([None, "creditCard", "giftCard"])),
    )  # fmt: skip


class Histories(RuleBasedStateMachine):
    """An order with random facts, random answers of its connector and random decisions of its operators."""

    scenario: Scenario

    @initialize(data=st.data(), count=st.integers(1, 3))
    def open_order(self, data: st.DataObject, count: int) -> None:
        first = data.draw(payments("p1"))
        same = data.draw(st.booleans())  # so that most orders have payments of one mode
        chosen = [first]
        for number in range(2, count + 1):
            payment = data.draw(payments(f"p{number}"))
            chosen.append(_with_connector(payment, first.connector) if same else payment)
        total = sum(payment.reference_value for payment in chosen)
        value = data.draw(st.sampled_from([total, total, total, max(1, total - 3), total + 4]))
        switches: dict[str, Any] = {
            "returns": data.draw(st.sampled_from(["at_once", "at_once", "after_invoiced"])),
            "refund_order": data.draw(st.sampled_from(["lowest_first", "card_first"])),
        }
        self.scenario = Scenario(*chosen, value=value, opened=False, **switches)
        self.scenario.holding = True
        self.number = 0
        self.given_up = False
        self.refunded_more = False  # by a resolution (R39)
        self.facts: list[Fact] = []
        self._give(self._first_fact(chosen, value))

    @staticmethod
    def _first_fact(chosen: list[Authorization], value: int) -> Fact:
        from tests.unit.domain.scenario import order_authorized

        return order_authorized(*chosen, value=value)

    def _give(self, fact: Fact) -> None:
        before = self.scenario.order
        decision = self.scenario.judge(fact)
        self.facts.append(fact)
        if before.phase == "canceled":
            assert decision.order.phase == "canceled", "canceled is final"
            assert not [command for command in decision.commands if command.operation == "settle"], (
                "settled after cancel"
            )
        if before.phase == "finished":
            assert decision.order.phase == "finished", "finished stays finished"

    def _next(self) -> str:
        self.number += 1
        return str(self.number)

    # Facts

    @rule(value=AMOUNTS)
    def invoice(self, value: int) -> None:
        self._give(out(self._next(), value))

    @rule()
    def final_invoice(self) -> None:
        self._give(out(self._next(), max(1, self.scenario.order.value - self.scenario.order.invoiced)))

    @rule(value=AMOUNTS)
    def return_items(self, value: int) -> None:
        self._give(ret("r" + self._next(), value))

    @rule(discount=st.integers(0, 9), increment=st.sampled_from([0, 0, 0, 1, 5]))
    def change_order(self, discount: int, increment: int) -> None:
        before = self.scenario.order
        self._give(change("c" + self._next(), discount, increment))
        _check_change(before, self.scenario)

    @precondition(lambda self: self.number > 2)
    @rule(sure=st.integers(0, 3))
    def cancel_order(self, sure: int) -> None:
        if sure == 0:
            self._give(cancel())

    @rule(data=st.data(), value=AMOUNTS)
    def automatic_settlement(self, data: st.DataObject, value: int) -> None:
        payment = data.draw(st.sampled_from(self.scenario.order.payments))
        if data.draw(st.booleans()):
            value = max(1, payment.untouched)
        known = [settlement.settle_id for settlement in payment.settlements]
        name = data.draw(st.sampled_from(["g" + self._next(), "g" + self._next(), *known]))
        self._give(auto(value, payment.payment_id, name))

    @precondition(lambda self: len(self.scenario.order.payments) < 4)
    @rule(data=st.data())
    def add_payment(self, data: st.DataObject) -> None:
        self._give(added(data.draw(payments("p" + str(len(self.scenario.order.payments) + 1)))))

    @rule(hours=st.sampled_from([1, 10, 40]))
    def let_time_pass(self, hours: int) -> None:
        self.scenario.wait(hours)

    @rule()
    def time_without_a_deadline(self) -> None:
        self._give(TimePassed(order_id="o1"))

    @precondition(lambda self: bool(self.facts))
    @rule(data=st.data())
    def repeat_a_fact(self, data: st.DataObject) -> None:
        fact = data.draw(st.sampled_from(self.facts))
        if not isinstance(fact, TimePassed):
            before = laws.substance(self.scenario.order)
            decision = self.scenario.judge(fact)
            if decision.fate != "parked" and fact.__class__.__name__ != "TrackingUpdated":
                may_be_refused = fact.__class__.__name__ == "CancelRequested"  # a refused one is refused each time
                assert decision.fate == "duplicate" or (may_be_refused and decision.fate == "refused"), (
                    decision.fate,
                    fact,
                )
                assert laws.substance(self.scenario.order) == before

    @precondition(lambda self: bool(self.scenario.order.invoices))
    @rule(data=st.data())
    def update_tracking(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.scenario.order.invoices)))
        self._give(tracking(number, courier=data.draw(st.sampled_from("abc"))))

    # The connector

    def _ready(self) -> list[Command]:
        return ready(self.scenario)

    @precondition(lambda self: bool(self._ready()))
    @rule(data=st.data())
    def command_succeeds(self, data: st.DataObject) -> None:
        self.scenario.answer(data.draw(st.sampled_from(self._ready())), "ok")

    @precondition(lambda self: bool(self._ready()))
    @rule(data=st.data(), how=st.sampled_from(["declined", "declined", "unknown", "suspect", "manual", "short"]))
    def command_fails(self, data: st.DataObject, how: str) -> None:
        command = data.draw(st.sampled_from(self._ready()))
        if how == "short":
            if command.value > 1 and command.operation != "cancel":
                self.scenario.answer(command, f"short {data.draw(st.integers(1, command.value - 1))}")
            return
        self.scenario.answer(command, how)

    @precondition(lambda self: bool(self._ready()))
    @rule(data=st.data())
    def command_succeeds_with_the_id_of_another(self, data: st.DataObject) -> None:
        command = data.draw(st.sampled_from(self._ready()))
        payment = self.scenario.payment(command.payment_id)
        known = [settlement.settle_id for settlement in payment.settlements]
        if known:
            self.scenario.answer(command, "ok", data.draw(st.sampled_from(known)))
            if self.scenario.order.commands[command.command_id].state == "suspect":
                self.scenario.withheld.add(command.command_id)
                self.scenario.queue.insert(0, command.command_id)

    @precondition(lambda self: bool(self.scenario.issued))
    @rule(data=st.data(), kind=st.sampled_from(["succeeded", "declined", "unknown", "manual", "suspect"]))
    def late_answer(self, data: st.DataObject, kind: Any) -> None:
        """An answer for a command that has ended changes no amount."""
        command = data.draw(st.sampled_from(list(self.scenario.order.commands.values())))
        if command.in_flight:
            return
        before = self.scenario.amounts()
        done = command.value if kind == "succeeded" else 0
        self.scenario.judge(self.scenario.outcome(kind, command, value=done, operation_id="late" if done else None))
        assert self.scenario.amounts() == before

    # Operators

    @precondition(lambda self: bool(self.scenario.issued))
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        self._decided("retried", data.draw(st.sampled_from(list(self.scenario.order.commands.values()))))

    @precondition(lambda self: bool(self.scenario.issued))
    @rule(data=st.data(), value=st.integers(0, 14), exact=st.booleans())
    def resolve(self, data: st.DataObject, value: int, exact: bool) -> None:
        command = data.draw(st.sampled_from(list(self.scenario.order.commands.values())))
        if command.state != "sent":
            value = command.value if exact and value else value
            self.refunded_more |= command.operation == "refund" and value > command.value
            self._decided("resolved", command, value=value, operation_id=f"hand-{self._next()}" if value else None)

    @precondition(lambda self: bool(self.scenario.issued))
    @rule(data=st.data())
    def abandon(self, data: st.DataObject) -> None:
        self.given_up = True
        self._decided("abandoned", data.draw(st.sampled_from(list(self.scenario.order.commands.values()))))

    @rule(data=st.data())
    def abandon_an_amount(self, data: st.DataObject) -> None:
        order = self.scenario.order
        names: list[dict[str, str]] = [{"invoice_number": number} for number in order.invoices]
        names += [{"settle_id": one.settle_id} for one in order.unbooked]
        if names:
            self.given_up = True
            self._decided("abandoned", None, **data.draw(st.sampled_from(names)))

    def _decided(self, kind: Any, command: Command | None, **more: Any) -> None:
        self.scenario.operator(kind, command, **more)
        issued = len(self.scenario.issued)
        last = self.scenario.last
        assert isinstance(last, OutcomeReported)
        assert self.scenario.judge(last).fate == "duplicate", "the same decision twice acts once"
        assert len(self.scenario.issued) == issued

    # The invariants

    @invariant()
    def refunds_are_accounted_for(self) -> None:
        """Without interest, every amount to refund is taken from a settlement, or waits."""
        order = getattr(self, "scenario", None) and self.scenario.order
        if not order or self.refunded_more or any(one.authorized != one.reference for one in order.payments):
            return
        taken = sum(one.reference_taken for payment in order.payments for one in payment.settlements)
        waits = sum(one.amount for one in order.demands)
        decided = order.given_back + order.returned
        laws.holds("R15/R18", taken + waits <= decided, f"refunds {taken} + {waits}, decided {decided}")
        if not self.given_up:
            laws.holds("R15/R18", taken + waits == decided, f"refunds {taken} + {waits}, decided {decided}")

    def teardown(self) -> None:
        if hasattr(self, "scenario") and self.scenario.whole:
            self.scenario.check_fold()
            come_to_rest(self.scenario)


def _with_connector(payment: Authorization, connector: str) -> Authorization:
    from msgspec.structs import replace

    return replace(payment, connector=connector)


def ready(scenario: Scenario) -> list[Command]:
    """I6: the first unfinished command of each payment; manual commands have left the queue."""
    heads, blocked = [], set()
    for command in sorted(scenario.order.commands.values(), key=lambda one: one.sequence):
        if command.payment_id in blocked or not command.in_flight or command.state == "manual":
            continue
        blocked.add(command.payment_id)
        if command.state == "sent":
            heads.append(command)
    return heads


def _check_change(before: Any, scenario: Scenario) -> None:
    """R15 as its text says, in PARTIAL mode without interest."""
    after, decision = scenario.order, scenario.decisions[-1]
    at_par = all(one.authorized == one.reference and not one.settles_once for one in before.payments)
    if decision.fate != "applied" or before.mode != "PARTIAL" or not at_par or after.value >= before.value:
        return
    lower = before.value - after.value
    refund = max(0, before.taken - after.value)
    free = sum(payment.open for payment in before.payments) - max(0, after.value - before.taken)
    void = min(lower - refund, max(0, free))
    asked = sum(one.value for one in decision.commands if one.operation == "cancel" and one.cause_kind == "change")
    assert after.given_back - before.given_back == refund, "R15: the refund"
    assert asked == void, f"R15: voided {asked}, the formula says {void}"


def come_to_rest(scenario: Scenario) -> None:
    """The connector does all and operators close the rest; then only missing authorizations keep an order open."""
    for _ in range(400):
        open_commands = [one for one in scenario.order.commands.values() if one.in_flight]
        if heads := ready(scenario):
            scenario.answer(heads[0], "ok")
        elif open_commands:
            first = open_commands[0]
            scenario.operator("resolved", first, value=first.value, operation_id=f"rest-{scenario.now_ms}")
        elif missing := [one for one in scenario.order.commands.values() if one.missing]:
            scenario.operator("abandoned", missing[0])
            assert not scenario.order.commands[missing[0].command_id].missing, "abandoned, and still missing"
        elif lapsed := [one for one in scenario.order.lacks if one.kind == "lapsed"]:
            scenario.operator("abandoned", invoice_number=lapsed[0].invoice)
        elif suspects := [one for one in scenario.order.unbooked if one.suspect]:
            scenario.operator("abandoned", settle_id=suspects[0].settle_id)
        else:
            break
    else:
        raise AssertionError("never at rest")
    order = scenario.order
    scenario.check_fold()
    assert not [one for one in order.unbooked if not one.suspect], "an automatic settlement waits for nothing"
    held = order.mode == "HOLD" and order.phase == "open"  # nothing is settled yet
    waits = [
        one for one in order.lacks if one.kind not in ("abandoned", "rounding") and not (held and one.kind == "held")
    ]
    assert all(one.kind == "waiting" for one in waits), waits
    if not waits and order.invoiced >= order.value and order.phase != "canceled" and not order.demands:
        assert order.phase == "finished", f"all is done, and the order is {order.phase}"
    if order.phase == "canceled":
        assert order.taken == 0, f"canceled, and {order.taken} is kept"
    at_rest = scenario.state
    assert (at_rest["settling"], at_rest["refunding"], at_rest["voiding"]) == (0, 0, 0)
    if order.demands and not waits:
        taken = sum(one.refundable_reference for payment in order.payments for one in payment.settlements)
        demanded = sum(one.amount for one in order.demands if not one.after_invoiced)
        assert not demanded or not taken, f"a refund of {demanded} waits, and {taken} could be refunded"


def test_random_histories_keep_the_invariants() -> None:
    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=150 * DEEP, stateful_step_count=25, deadline=None, derandomize=DEEP == 1,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip


# R30


def _arrivals(facts: list[Fact], answers_late: bool, *chosen: Authorization, **switches: Any) -> Scenario | None:
    """Plays the facts in this order; None if one was refused."""
    scenario = Scenario(*chosen, checked=False, **switches)
    scenario.holding = answers_late
    for fact in facts:
        if scenario.give(fact).fate == "refused":
            return None
    scenario.holding = False
    scenario.answer_all()
    return scenario


CLEAN_FACTS = st.lists(
    st.one_of(
        st.builds(lambda value: ("Out", value), st.integers(1, 60)),
        st.builds(lambda value: ("return", value), st.integers(1, 30)),
        st.builds(lambda value: ("discount", value), st.integers(1, 30)),
    ),
    min_size=2, max_size=5,
)  # fmt: skip


def _as_facts(play: list[tuple[str, int]]) -> list[Fact]:
    make: dict[str, Callable[[int, int], Fact]] = {
        "Out": lambda number, value: out(f"o{number}", value),
        "return": lambda number, value: ret(f"r{number}", value),
        "discount": lambda number, value: change(f"c{number}", value),
        "increase": lambda number, value: change(f"c{number}", 0, value),
        "auto": lambda number, value: auto(value, "p1", f"g{number}"),
    }
    return [make[kind](number, value) for number, (kind, value) in enumerate(play)]


def _ends(scenario: Scenario) -> tuple[int, ...]:
    order = scenario.order
    return order.value, order.invoiced, order.returned


@settings(max_examples=100 * DEEP, deadline=None, derandomize=DEEP == 1)
@given(CLEAN_FACTS, st.data())
def test_r30_any_order_of_arrival_with_any_repeats_ends_the_same(
    play: list[tuple[str, int]], data: st.DataObject
) -> None:
    """PARTIAL, one payment, no increase, no automatic settlement: V, O, R and S, C, F."""
    facts = _as_facts(play)
    first = _arrivals(facts, False, pay("p1", 100))
    assume(first is not None)
    assert first is not None
    for _ in range(6):
        order = data.draw(st.permutations(facts))
        repeats = data.draw(st.lists(st.sampled_from(facts), max_size=3))
        other = _arrivals([*order, *repeats], data.draw(st.booleans()), pay("p1", 100))
        if other is not None:
            assert _ends(other) == _ends(first)
            totals = [
                (scenario.total("settled"), scenario.total("voided"), scenario.total("refunded"))
                for scenario in (first, other)
            ]
            assert totals[0] == totals[1]
            assert other.order.phase == first.order.phase


@settings(max_examples=60 * DEEP, deadline=None, derandomize=DEEP == 1)
@given(CLEAN_FACTS, st.integers(50, 150), st.data())
def test_r30_with_interest_the_ends_differ_by_at_most_one_minor_unit_per_command(
    play: list[tuple[str, int]], value: int, data: st.DataObject
) -> None:
    facts = _as_facts(play)
    payment = pay("p1", value, reference=100)
    first = _arrivals(facts, False, payment)
    assume(first is not None)
    assert first is not None
    for _ in range(4):
        other = _arrivals(data.draw(st.permutations(facts)), data.draw(st.booleans()), payment)
        if other is not None:
            assert _ends(other) == _ends(first)
            most = len(first.issued) + len(other.issued)
            for name in ("settled", "voided", "refunded"):
                assert abs(other.total(name) - first.total(name)) <= most, name


@settings(max_examples=80 * DEEP, deadline=None, derandomize=DEEP == 1)
@given(
    st.lists(st.tuples(st.sampled_from(["Out", "Out", "return", "discount", "increase", "auto"]), st.integers(1, 50)),
             min_size=2, max_size=4),
    st.sampled_from(["partial", "total", "hold"]), st.booleans(), st.booleans(),
)  # fmt: skip
def test_r30_in_every_mode_the_sums_end_the_same_and_never_exceed_the_order_value(
    play: list[tuple[str, int]], by: str, two: bool, late: bool
) -> None:
    facts = _as_facts(play)
    chosen = [pay("p1", 60, by=by), pay("p2", 40, by=by)] if two else [pay("p1", 100, by=by)]
    seen = set()
    for order in permutations(facts):
        scenario = _arrivals(list(order), late, *chosen)
        if scenario is not None:
            assert scenario.order.taken <= scenario.order.value
            seen.add(_ends(scenario))
    assert len(seen) <= 1


def test_the_clock_of_a_scenario_starts_where_expiries_count_from() -> None:
    assert pay("p1", 1, in_hours=1).expires_at_ms == START_MS + HOUR_MS
