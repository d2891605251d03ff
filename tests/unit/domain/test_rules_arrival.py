"""R29–R31: facts that arrive early, and the text of refusals."""

import re

import pytest

from tests.unit.domain.scenario import (
    Scenario,
    added,
    auto,
    cancel,
    change,
    order_authorized,
    out,
    pay,
    ret,
    tracking,
)
from worker.domain.facts import Fact
from worker.domain.money import MAX_MINOR

# R29


@pytest.mark.parametrize(
    "fact",
    [
        out("1", 1),
        ret("r1", 1),
        change("c1", 1),
        cancel(),
        auto(1),
        tracking("1", courier="c"),
        added(pay("p2", 1)),
    ],
    ids=lambda fact: type(fact).__name__,
)
def test_r29_facts_of_an_unknown_order_are_parked(fact: Fact) -> None:
    assert Scenario(opened=False).give(fact).fate == "parked"


def test_r29_parked_facts_are_applied_in_their_sequence_when_the_order_opens() -> None:
    scenario = Scenario(opened=False)
    for fact in (out("2", 4000), change("c1", 1000), out("1", 5000)):
        scenario.give(fact)

    scenario.give(order_authorized(pay("p1", 10000)))

    assert scenario.commands == "settle 4000, cancel 1000, settle 5000"
    assert scenario.parked == []
    scenario.shows("V 9000, S 9000, C 1000, finished")


def test_r29_a_parked_fact_is_decided_when_it_is_applied() -> None:
    scenario = Scenario(opened=False)
    for fact in (ret("r1", 5), out("1", 10)):
        scenario.give(fact)

    scenario.give(order_authorized(pay("p1", 10000)))

    assert scenario.refused == ["rejected R18"]
    scenario.shows("S 10, F 0")


def test_r29_facts_that_name_an_unknown_payment_are_parked_until_it_arrives() -> None:
    scenario = Scenario()

    assert scenario.give(auto(500, "p2", "g1")).fate == "parked"
    scenario.play("increase 500; pay p2 500")
    assert scenario.parked == []
    scenario.shows("S 500, K 500")


def test_r29_a_fact_parked_several_times_is_applied_once() -> None:
    scenario = Scenario(opened=False)
    for _ in range(3):
        scenario.give(out("1", 6000))

    scenario.give(order_authorized(pay("p1", 10000)))

    assert scenario.commands == "settle 6000"


def test_r8_a_repeated_refused_invoice_is_recognized_with_or_without_the_orders_currency() -> None:
    scenario = Scenario().play("cancel")
    assert scenario.give(out("1", 500, "USD")).fate == "refused"

    assert scenario.give(out("1", 500)).fate == "duplicate"
    assert scenario.give(out("1", 500, "BRL")).fate == "refused"


# R31


REFUSALS: list[tuple[str, Fact, str, str]] = [
    ("", order_authorized(pay("p1", 10001)), "order.rejected", "R8"),
    ("", added(pay("p1", 9999)), "payment.rejected", "R8"),
    ("auto 5 as g1", auto(6), "payment.rejected", "R8"),
    ("", added(pay("p2", MAX_MINOR)), "payment.rejected", "R9"),
    ("Out 6000 as 1", out("1", 7000), "invoice.rejected", "R8"),
    ("", out("1", 7000, currency="BRL"), "invoice.rejected", "R12"),
    ("Out 6000", ret("r1", 6001), "invoice.rejected", "R18"),
    ("cancel", out("1", 1), "invoice.rejected", "R22"),
    ("discount 5 as c1", change("c1", 6), "change.rejected", "R8"),
    ("", change("c1", 0), "change.rejected", "R14"),
    ("", change("c1", 5, 5), "change.rejected", "R14"),
    ("", change("c1", 10000), "change.rejected", "R14"),
    ("Out 6000", change("c1", 4001), "change.rejected", "R14"),
    ("Out 10000", change("c1", 1), "change.rejected", "R14"),
    ("cancel", change("c1", 1), "change.rejected", "R14"),
    ("Out 6000", cancel(), "cancel.rejected", "R23"),
    ("", tracking("1", courier="c"), "tracking.rejected", "R11"),
    ("", auto(10001), "payment.suspect", "R27"),
]


@pytest.mark.parametrize(("before", "fact", "event_type", "rule"), REFUSALS)
def test_r31_every_refusal_is_an_event_with_rule_reason_and_numbers_and_a_dead_letter(
    before: str, fact: Fact, event_type: str, rule: str
) -> None:
    scenario = Scenario().play(before)

    decision = scenario.give(fact)

    assert decision.refusal is not None
    assert [one.type for one in decision.events] == [event_type]
    event = decision.events[0]
    assert (event.rule, decision.refusal.rule) == (rule, rule)
    assert event.reason == decision.refusal.reason
    assert event.reason.endswith(f"({rule})"), event.reason
    assert event.reason[0].isupper()
    assert decision.refusal.code in ("rejected", "conflicting_duplicate", "suspect")
    if event_type not in ("tracking.rejected", "cancel.rejected"):
        assert any(isinstance(one, int) for one in event.numbers.values()), event.numbers


def test_r31_a_reason_is_one_plain_sentence_with_major_units() -> None:
    scenario = Scenario().play("Out 6000; discount 4001")

    assert scenario.refusals[0].reason == (
        "Change refused: 40.01 off would leave the order below the 60.00 already invoiced (R14)"
    )


@pytest.mark.parametrize(
    ("before", "fact", "wanted"),
    [
        ("Out 6000", change("c1", 4001), {4001, 6000}),
        ("Out 6000", ret("r1", 6001), {6001, 6000}),
        ("Out 6000 as 1", out("1", 7000), {7000, 6000}),
        ("", change("c1", 12000), {12000, 10000}),
    ],
)
def test_r31_the_numbers_include_the_requested_amount_and_the_limit(before: str, fact: Fact, wanted: set[int]) -> None:
    scenario = Scenario().play(before)

    decision = scenario.give(fact)

    assert wanted <= set(decision.events[0].numbers.values())


def test_r31_amounts_have_the_decimals_of_their_currency() -> None:
    for currency, amount in (("JPY", "4001"), ("KWD", "4.001")):
        scenario = Scenario(opened=False)
        scenario.give(order_authorized(pay("p1", 10000), currency=currency))
        scenario.play("Out 6000; discount 4001")
        assert re.search(rf"\b{re.escape(amount)} off\b", scenario.refusals[0].reason)
