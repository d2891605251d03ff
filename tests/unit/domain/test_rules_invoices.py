"""R4–R12: invoices, repeated facts, tracking."""

import pytest
from msgspec.structs import replace

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

# R4


def test_r4_a_partial_invoice_settles_exactly_its_value_and_the_order_stays_open() -> None:
    scenario = Scenario().play("Out 1")

    assert scenario.commands == "settle 1"
    scenario.shows("V 10000, O 1, S 1, open 9999, still open")
    assert scenario.event_types == [
        "order.opened", "invoice.accepted", "settlement.requested", "settlement.confirmed",
    ]  # fmt: skip


# R5


def test_r5_the_open_rest_is_voided_with_cause_finish_when_the_order_is_invoiced_and_all_is_done() -> None:
    scenario = Scenario(pay("p1", 10000), value=8000).play("hold; Out 8000")

    assert scenario.commands == "settle 8000"
    scenario.shows("open 2000, invoiced").play("ok settle 8000")
    assert scenario.commands == "settle 8000, cancel 2000"
    assert (scenario.issued[1].cause_kind, scenario.issued[1].cause_id) == ("finish", "o1")
    scenario.shows("D 2000, invoiced").play("ok cancel 2000").shows("C 2000, D 0, finished")


@pytest.mark.parametrize("outcome", ["declined", "manual", "unknown", "suspect"])
def test_r5_the_order_finishes_whatever_the_outcome_of_the_finishing_void(outcome: str) -> None:
    """ "When that void has an outcome of any kind": interim ones count too."""
    scenario = Scenario(pay("p1", 10000), value=8000).script("cancel", outcome).play("Out 8000")

    scenario.shows("S 8000, finished")
    if outcome == "declined":
        assert "void.failed" in scenario.event_types


def test_r5_events_come_in_the_order_in_which_things_happened() -> None:
    scenario = Scenario().play("Out 10000")

    assert scenario.event_types == [
        "order.opened", "invoice.accepted", "settlement.requested", "order.invoiced", "settlement.confirmed",
        "order.finished",
    ] or scenario.event_types == [
        "order.opened", "invoice.accepted", "order.invoiced", "settlement.requested", "settlement.confirmed",
        "order.finished",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "play",
    [
        "hold; Out 6000; go; hold; Out 2000",  # in flight
        "hold; Out 6000; declined settle 6000; go; Out 2000",  # failed
        "hold; Out 6000; short 5000 settle 6000; go; Out 2000",  # short
        "hold; Out 6000; unknown settle 6000; go; Out 2000",
        "hold; Out 6000; manual settle 6000; go; Out 2000",
        "hold; Out 6000; suspect settle 6000; go; Out 2000",
        "Out 6000; hold; return 1000; manual refund 1000; go; Out 2000",
        "Out 6000; hold; return 1000; declined refund 1000; go; Out 2000",
        "hold; discount 100; unknown cancel 100; increase 100; go; Out 8000",
    ],
)
def test_r5_no_finishing_void_is_sent_while_something_is_unfinished(play: str) -> None:
    scenario = Scenario(pay("a", 10000), value=8000).play(play)

    scenario.shows("invoiced")
    assert not [one for one in scenario.issued if one.cause_kind == "finish"]


def test_r5_a_waiting_amount_keeps_the_order_from_finishing() -> None:
    Scenario(pay("p1", 6000), value=8000).play("Out 8000").shows("S 6000, waits 2000, invoiced")


def test_r5_abandoned_amounts_let_the_order_finish() -> None:
    scenario = Scenario().play("hold; Out 6000; declined settle 6000; go; Out 4000; abandon settle 6000")

    assert scenario.commands == "settle 6000, settle 4000, cancel 6000"
    scenario.shows("S 4000, C 6000, finished")


def test_r5_the_finishing_void_includes_what_a_declined_void_of_a_change_left_open() -> None:
    scenario = Scenario().script("cancel", "declined").play("discount 1500; Out 8500")

    assert scenario.commands == "cancel 1500, settle 8500, cancel 1500"
    assert [one.cause_kind for one in scenario.issued] == ["change", "invoice", "finish"]
    scenario.shows("S 8500, C 1500, finished")


def test_r5_the_finishing_void_excludes_what_an_abandoned_void_left_open() -> None:
    scenario = Scenario().script("cancel", "declined").play("discount 1500; abandon cancel 1500; Out 8500")

    assert scenario.commands == "cancel 1500, settle 8500"
    scenario.shows("S 8500, C 0, open 1500, finished")


def test_r5_a_manual_void_of_a_change_lets_the_order_finish() -> None:
    """R5: "A declined or manual void is reported and holds nothing up"."""
    scenario = Scenario().script("cancel", "manual").play("discount 1500; Out 8500")

    assert scenario.commands == "cancel 1500, settle 8500"
    scenario.shows("S 8500, D 1500, finished")
    assert scenario.state["status"] == "attention"


def test_r5_in_total_and_hold_the_finishing_void_is_booked_and_not_sent() -> None:
    for by in ("total", "hold"):
        scenario = Scenario(pay("p1", 10000, by=by), value=8000).play("Out 8000")
        assert scenario.commands == "settle 8000"
        scenario.shows("S 8000, C 2000, open 0, finished")


@pytest.mark.parametrize("by", ["total", "hold"])
def test_r5_in_total_and_hold_an_unsettled_payment_is_canceled_whole(by: str) -> None:
    scenario = Scenario(pay("a", 7000, by=by), pay("b", 3000, by=by), value=3000).play("Out 3000")

    assert (scenario.commands_of("b"), scenario.commands_of("a")) == ("settle 3000", "cancel 7000")
    assert scenario.issued[1].cause_kind == "finish"
    scenario.shows("S 3000, C 7000, finished")


@pytest.mark.parametrize("by", ["total", "hold"])
def test_r5_a_payment_whose_settle_is_abandoned_is_canceled_whole(by: str) -> None:
    scenario = Scenario(by=by).script("settle", "declined").play("Out 10000; abandon settle 10000")

    assert scenario.commands == "settle 10000, cancel 10000"
    scenario.shows("S 0, C 10000, finished")


def test_r5_later_returns_are_refunded_and_the_order_stays_finished() -> None:
    scenario = Scenario().script("refund", "ok", "declined").play("Out 10000; return 2000").shows("F 2000, finished")

    scenario.play("return 1000").shows("F 2000, finished")
    assert scenario.state["status"] == "attention"


def test_r5_a_return_before_the_finishing_void_ended_does_not_keep_the_order_open() -> None:
    scenario = Scenario(pay("p1", 12000), value=10000)
    scenario.play("hold; Out 10000; ok settle 10000; return 1000; ok cancel 2000").shows("G 1000, finished")

    scenario.play("declined refund 1000").shows("F 0, finished")
    assert scenario.state["status"] == "attention"


def test_r5_a_later_payment_of_a_finished_order_is_voided_at_once() -> None:
    scenario = Scenario().play("Out 10000; pay p2 5000")

    assert scenario.commands == "settle 10000, cancel 5000"
    assert scenario.issued[1].cause_kind == "finish"
    scenario.shows("S 10000, C 5000, finished")


def test_r5_all_payments_are_voided_before_the_order_is_finished() -> None:
    scenario = Scenario(pay("a", 7000), pay("b", 3000), pay("c", 5000), value=8000).play("Out 8000")

    assert (scenario.commands_of("b"), scenario.commands_of("c"), scenario.commands_of("a")) == (
        "settle 3000", "settle 5000", "cancel 7000",
    )  # fmt: skip
    scenario.shows("C 7000, finished")
    assert scenario.event_types.index("void.confirmed") < scenario.event_types.index("order.finished")
    assert scenario.event_types.count("order.finished") == 1


# R6, R7


def test_r6_the_excess_is_recorded_and_never_settled() -> None:
    scenario = Scenario().play("Out 10001")

    assert scenario.commands == "settle 10000"
    assert scenario.event("invoice.accepted").numbers["excess"] == 1
    assert scenario.invoice("1") | {} == scenario.invoice("1")
    assert (scenario.invoice("1")["value"], scenario.invoice("1")["excess"]) == (10001, 1)


def test_r6_an_increase_does_not_settle_an_earlier_excess() -> None:
    assert Scenario().play("Out 10001; increase 5").refused == ["rejected R14"]


def test_r7_an_output_invoice_after_the_order_is_invoiced_is_standalone() -> None:
    scenario = Scenario().play("Out 10000; Out 500 as x")

    assert scenario.commands == "settle 10000"
    assert scenario.event("invoice.standalone").rule == "R7"
    assert scenario.invoice("x")["status"] == "standalone"
    scenario.shows("O 10000, finished")
    scenario.give(tracking("x", courier="c"))
    assert scenario.refused == ["rejected R11"]


def test_r7_a_standalone_invoice_takes_its_number() -> None:
    scenario = Scenario().play("Out 10000; Out 500 as x; Out 500 as x; Out 600 as x; return 500 as x")

    assert scenario.fates["duplicate"] == 1
    assert scenario.refused == ["conflicting_duplicate R8", "conflicting_duplicate R8"]


def test_r7_an_output_invoice_is_standalone_also_while_settles_are_in_flight() -> None:
    scenario = Scenario().play("hold; Out 10000; Out 500; go")

    assert scenario.commands == "settle 10000"
    assert "invoice.standalone" in scenario.event_types


# R8


def test_r8_the_same_fact_again_is_a_duplicate_and_leaves_no_trace() -> None:
    scenario = Scenario(opened=False)
    facts: list[Fact] = [
        order_authorized(pay("p1", 10000)), added(pay("p2", 2000)), auto(1000), change("c1", 500), out("1", 1000),
        out("2", 3000), ret("r1", 700), tracking("1", courier="c"),
    ]  # fmt: skip
    for fact in facts:
        assert scenario.give(fact).fate == "applied", fact
    before = scenario.amounts()

    for fact in facts[:-1]:
        assert scenario.give(fact).fate == "duplicate", fact

    assert scenario.amounts() == before
    assert scenario.refused == []


@pytest.mark.parametrize(
    ("first", "other", "event_type"),
    [
        (out("1", 6000), out("1", 6001), "invoice.rejected"),
        (out("1", 6000), ret("1", 6000), "invoice.rejected"),
        (change("c1", 500), change("c1", 501), "change.rejected"),
        (change("c1", 500), change("c1", 500, 1), "change.rejected"),
        (added(pay("p2", 500)), added(pay("p2", 501)), "payment.rejected"),
        (added(pay("p2", 500)), added(replace(pay("p2", 500), authorization_id="other")), "payment.rejected"),
        (auto(1000), auto(1001), "payment.rejected"),
        (order_authorized(pay("p1", 10000)), order_authorized(pay("p1", 10001)), "order.rejected"),
        (
            order_authorized(pay("p1", 10000)),
            order_authorized(pay("p1", 10000), value=9000),
            "order.rejected",
        ),
        (order_authorized(pay("p1", 10000)), added(pay("p1", 10001)), "payment.rejected"),
    ],
)
def test_r8_the_same_key_with_other_content_is_a_conflict_and_moves_no_money(first, other, event_type) -> None:
    scenario = Scenario()
    scenario.give(first)
    before = scenario.amounts()

    decision = scenario.give(other)

    assert decision.fate == "refused"
    assert scenario.refused == ["conflicting_duplicate R8"]
    assert scenario.event(event_type).rule == "R8"
    assert scenario.amounts() == before


def test_r8_a_repeated_payment_of_the_order_is_a_duplicate() -> None:
    assert Scenario().give(added(pay("p1", 10000))).fate == "duplicate"


def test_r8_an_invoice_in_the_orders_currency_equals_one_without_a_currency() -> None:
    """Assumed: `currency` defaults to that of the order, so both have the same content."""
    scenario = Scenario()
    scenario.give(out("1", 6000))

    assert scenario.give(out("1", 6000, currency="USD")).fate == "duplicate"


def test_r8_a_repeated_invoice_in_another_currency_is_refused() -> None:
    scenario = Scenario()
    scenario.give(out("1", 6000))

    assert scenario.give(out("1", 6000, currency="BRL")).fate == "refused"


def test_r8_a_second_cancellation_is_a_duplicate_whatever_its_reason() -> None:
    scenario = Scenario()
    scenario.give(cancel())

    assert scenario.give(cancel("another reason")).fate == "duplicate"
    assert scenario.commands == "cancel 10000"


def test_r8_a_repeated_refused_fact_is_a_duplicate() -> None:
    scenario = Scenario().play("Out 6000; discount 4001 as c1; discount 4001 as c1; discount 4001 as c1")

    assert scenario.refused == ["rejected R14"]
    assert scenario.fates["duplicate"] == 2
    assert scenario.event_types.count("change.rejected") == 1


def test_r8_a_repeated_refused_fact_is_a_duplicate_even_if_it_could_now_be_accepted() -> None:
    scenario = Scenario().play("Out 6000; discount 4001 as c1; increase 5000 as c2; discount 4001 as c1")

    scenario.shows("V 15000")
    assert scenario.fates["duplicate"] == 1


def test_r8_a_refused_fact_is_decided_again_when_an_operator_replays_it() -> None:
    scenario = Scenario().play("Out 6000; discount 4001 as c1; increase 5000 as c2")

    assert scenario.give(change("c1", 4001), replayed=True).fate == "applied"
    scenario.shows("V 10999")


def test_r8_a_replay_that_is_refused_again_is_reported_again() -> None:
    scenario = Scenario().play("Out 6000; discount 4001 as c1")

    assert scenario.give(change("c1", 4001), replayed=True).fate == "refused"
    assert scenario.event_types.count("change.rejected") == 2


def test_r8_a_replay_of_an_accepted_fact_is_a_duplicate() -> None:
    scenario = Scenario().play("Out 6000 as 1")

    assert scenario.give(out("1", 6000), replayed=True).fate == "duplicate"


def test_r8_other_content_under_the_key_of_a_refused_fact_is_decided_as_new() -> None:
    scenario = Scenario().play("Out 6000; discount 4001 as c1; discount 4000 as c1")

    scenario.shows("V 6000, finished")
    assert scenario.fates["refused"] == 1


def test_r8_a_repeated_conflict_is_a_duplicate() -> None:
    scenario = Scenario().play("Out 6000 as 1; Out 7000 as 1; Out 7000 as 1")

    assert scenario.refused == ["conflicting_duplicate R8"]
    assert scenario.fates["duplicate"] == 1


def test_r8_every_repeat_of_a_refused_cancellation_is_refused() -> None:
    """A repeat and a second request of the shopper look alike (docs/decisions.md, 8)."""
    scenario = Scenario().play("Out 6000; cancel; cancel")

    assert scenario.refused == ["rejected R23", "rejected R23"]
    assert scenario.commands == "settle 6000"


@pytest.mark.parametrize("fact", [order_authorized(pay("p1", 10000)), None])
def test_r8_a_payment_of_another_order_is_a_conflict(fact) -> None:
    scenario = Scenario(opened=fact is None)

    decision = scenario.give(fact or added(pay("p2", 500)), foreign_payments=("p1" if fact else "p2",))

    assert decision.fate == "refused"
    assert scenario.refused[0].startswith("conflicting_duplicate")
    assert scenario.event_types[-1] == ("order.rejected" if fact else "payment.rejected")


def test_r8_an_order_with_a_payment_of_another_order_stays_unknown_and_its_facts_parked() -> None:
    """R29: facts of an order not yet known are parked; a refused order is not known."""
    scenario = Scenario(opened=False)
    scenario.give(order_authorized(pay("p1", 10000)), foreign_payments=("p1",))

    assert scenario.give(out("1", 100)).fate == "parked"
    assert scenario.give(order_authorized(pay("p9", 10000))).fate == "applied"
    scenario.shows("S 100")


# R11


def test_r11_a_tracking_update_changes_tracking_only() -> None:
    scenario = Scenario().play("Out 6000 as 1")
    before = scenario.amounts()

    scenario.give(tracking("1", trackingNumber="BR-1", isDelivered=True))
    scenario.give(tracking("1", courier="Correios"))

    assert scenario.amounts() == before
    assert scenario.order.invoices["1"].tracking == {
        "trackingNumber": "BR-1", "isDelivered": True, "courier": "Correios",
    }  # fmt: skip
    assert scenario.event_types.count("tracking.updated") == 2


def test_r11_tracking_that_came_with_the_invoice_is_known_and_is_no_part_of_its_content() -> None:
    scenario = Scenario()
    scenario.give(replace(out("1", 6000), tracking={"courier": "Correios"}))

    assert scenario.give(tracking("1", courier="Correios")).fate == "duplicate"
    assert scenario.give(out("1", 6000)).fate == "duplicate"
    assert scenario.order.invoices["1"].tracking == {"courier": "Correios"}


def test_r11_tracking_of_an_unknown_standalone_or_rejected_invoice_is_rejected() -> None:
    scenario = Scenario().play("Out 9000; Out 100 as bad; Out 2000; Out 5 as alone")
    scenario.give(out("wrong", 5, currency="BRL"))

    for number in ("unknown", "alone", "wrong"):
        assert scenario.give(tracking(number, courier="c")).fate == "refused", number
    assert scenario.refused[-3:] == ["rejected R11"] * 3
    assert scenario.event("tracking.rejected").rule == "R11"


def test_r11_a_return_can_be_tracked_too() -> None:
    scenario = Scenario().play("Out 6000; return 100 as r1")

    assert scenario.give(tracking("r1", courier="c")).fate == "applied"


def test_r11_an_invoice_of_a_finished_order_can_be_tracked() -> None:
    scenario = Scenario().play("Out 10000 as 1")

    assert scenario.give(tracking("1", courier="c")).fate == "applied"


# R12


@pytest.mark.parametrize("make", [out, ret])
def test_r12_an_invoice_in_another_currency_is_rejected_and_takes_no_number(make) -> None:
    scenario = Scenario().play("Out 6000")

    assert scenario.give(make("x", 100, currency="BRL")).fate == "refused"
    assert scenario.refused == ["rejected R12"]
    assert scenario.give(make("x", 100, currency="USD")).fate == "applied"
