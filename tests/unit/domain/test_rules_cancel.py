"""R22–R24: cancellations."""

import pytest

from tests.unit.domain.scenario import Scenario, cancel, out, pay

# R22


def test_r22_open_authorization_is_voided_and_the_order_is_canceled_at_once() -> None:
    scenario = Scenario(pay("a", 7000), pay("b", 3000)).play("hold; cancel").shows("D 10000, canceled")

    assert (scenario.commands_of("b"), scenario.commands_of("a")) == ("cancel 3000", "cancel 7000")
    assert {(one.cause_kind, one.cause_id) for one in scenario.issued} == {("cancel", "o1")}
    assert "order.canceled" in scenario.event_types


def test_r22_automatically_settled_money_is_refunded() -> None:
    scenario = Scenario().play("auto 4000; cancel")

    assert scenario.commands in ("cancel 6000, refund 4000", "refund 4000, cancel 6000")
    scenario.shows("S 4000, F 4000, C 6000, K 0, canceled")


def test_r22_nothing_is_settled_after_a_cancellation() -> None:
    scenario = Scenario().play("cancel; Out 1000; increase 500; auto 1; pay p2 3000; Out 2; return 1")

    assert "settle" not in scenario.commands
    assert scenario.refused.count("rejected R22") == 3, "two invoices and a return"


def test_r22_a_payment_that_arrives_later_is_voided_at_once() -> None:
    scenario = Scenario().play("cancel; pay p2 5000")

    assert scenario.commands == "cancel 10000, cancel 5000"
    assert scenario.issued[1].cause_kind == "cancel"
    scenario.shows("C 15000, canceled")


def test_r22_an_automatic_settlement_that_arrives_later_is_refunded_at_once() -> None:
    scenario = Scenario(pay("p1", 10000, in_hours=30)).play("auto 4000; cancel")
    scenario = Scenario().script("cancel", "declined", "declined").play("cancel; auto 4000")

    assert scenario.commands.endswith("refund 4000")
    scenario.shows("S 4000, F 4000, K 0, canceled")


def test_r27_a_canceled_order_refunds_even_a_capture_without_reference_value() -> None:
    """At 10800 for 10000, one more cent is worth less than one of the order's cents."""
    scenario = Scenario(pay("p1", 10800, reference=10000, cap=12000))
    scenario.play("hold; cancel; declined cancel 10800; go; auto 10800; auto 1")

    assert scenario.commands == "cancel 10800, refund 10800, refund 1"
    scenario.shows("S 10801, F 10801, canceled")


@pytest.mark.parametrize(
    ("value", "reference", "play", "commands"),
    [
        (20, 10, "auto 1; cancel", "cancel 19, refund 1"),
        (1, 100, "auto 1; discount 50; cancel", "refund 1"),
        (1, 100, "auto 1; discount 50; hold; cancel; declined refund 1; retry refund 1; go", "refund 1, refund 1"),
    ],
)
def test_r22_captures_before_the_cancellation_are_refunded_even_without_reference_value(
    value: int, reference: int, play: str, commands: str
) -> None:
    scenario = Scenario(pay("p1", value, reference=reference)).play(play)

    assert scenario.commands == commands
    assert scenario.event("refund.requested").cause_kind == "cancel"
    assert [one.refundable_reference for one in scenario.payment().settlements] == [0]
    scenario.shows("S 1, F 1, K 0, canceled")


def test_r27_a_refund_without_reference_value_names_its_rule_and_its_capture() -> None:
    scenario = Scenario(pay("p1", 20, reference=10)).play("hold; cancel; auto 1; declined cancel 20")

    refund, event = scenario.issued[-1], scenario.event("refund.requested")
    assert (refund.operation, refund.value, refund.reference, refund.cause_kind, refund.cause_id) == (
        "refund", 1, 0, "surplus", "g1",
    )  # fmt: skip
    assert event.rule == "R27"


def test_r22_a_second_cancellation_is_a_duplicate() -> None:
    assert Scenario().play("cancel; cancel").fates["duplicate"] == 1


def test_r22_a_cancellation_voids_again_what_a_declined_void_of_a_change_left_open() -> None:
    before = Scenario().script("cancel", "declined").play("discount 1500; cancel")
    while_in_flight = Scenario().play("hold; discount 1500; cancel; declined cancel 1500; go")

    assert before.commands == "cancel 1500, cancel 10000"
    before.shows("C 10000, canceled")
    assert while_in_flight.commands == "cancel 1500, cancel 8500, cancel 1500"
    while_in_flight.shows("C 10000, canceled")


def test_r22_a_capture_after_a_declined_cancel_does_not_replace_the_void_of_a_change() -> None:
    scenario = Scenario().play("hold; discount 4000; cancel; declined cancel 6000; auto 2000; declined cancel 4000")

    assert scenario.commands == "cancel 4000, cancel 6000, refund 2000, cancel 4000"
    scenario.play("ok cancel 4000 #2").shows("S 2000, C 4000, open 4000, attention")
    assert scenario.attention == [("failed", 4000)]


def test_r22_a_cancellation_repeats_a_declined_void_only_once() -> None:
    scenario = Scenario().script("cancel", "declined", "declined", "declined", "declined").play("discount 1500; cancel")

    assert scenario.commands == "cancel 1500, cancel 10000"
    scenario.shows("C 0, open 10000, canceled")
    scenario = Scenario().play(
        "hold; discount 1500; cancel; declined cancel 1500; declined cancel 8500; declined cancel 1500 #2"
    )
    assert scenario.commands == "cancel 1500, cancel 8500, cancel 1500"
    scenario.shows("open 10000, D 0, canceled")


def test_r22_a_cancellation_also_voids_what_an_abandoned_void_left_open() -> None:
    """Abandoning lets an order finish (R5); a cancellation voids all that is open."""
    scenario = Scenario().script("cancel", "declined").play("discount 1500; abandon cancel 1500; cancel")

    assert scenario.commands == "cancel 1500, cancel 10000"
    scenario.shows("C 10000, canceled")


def test_r22_a_declined_void_of_the_cancellation_is_retried_only_by_an_operator() -> None:
    scenario = Scenario().script("cancel", "declined").play("cancel").shows("open 10000, canceled, attention")

    assert scenario.commands == "cancel 10000"
    scenario.play("pay p2 100")
    assert scenario.commands == "cancel 10000, cancel 100"
    scenario.play("retry cancel 10000").shows("C 10100, canceled")
    assert scenario.commands == "cancel 10000, cancel 100, cancel 10000"
    assert scenario.state["status"] == "canceled"


@pytest.mark.parametrize("by", ["total", "hold"])
def test_r22_a_capture_of_one_payment_leaves_the_declined_cancel_of_another_to_an_operator(by: str) -> None:
    scenario = Scenario(pay("a", 7000, by=by), pay("b", 3000, by=by)).script("cancel", "declined", "declined")

    scenario.play("cancel; auto 1000 on a")

    assert scenario.commands == "cancel 3000, cancel 7000, refund 1000"
    assert scenario.attention == [("failed", 3000)]


@pytest.mark.parametrize("by", ["total", "hold"])
def test_r22_in_total_and_hold_the_rest_of_a_captured_payment_is_booked_and_not_sent(by: str) -> None:
    scenario = Scenario(by=by).play("auto 3500; cancel")

    assert scenario.commands == "refund 3500"
    scenario.shows("S 3500, F 3500, C 6500, open 0, canceled")


@pytest.mark.parametrize("by", ["total", "hold"])
def test_r22_in_total_and_hold_an_untouched_payment_is_canceled_whole_and_once(by: str) -> None:
    assert Scenario(by=by).play("discount 1; discount 2; cancel").commands == "cancel 10000"


def test_r22_a_refund_in_flight_of_a_change_is_not_refunded_twice() -> None:
    scenario = Scenario().play("auto 10000; hold; discount 1500; cancel; go")

    assert scenario.commands == "refund 1500, refund 8500"
    scenario.shows("F 10000, K 0, canceled")


def test_r22_a_declined_refund_is_left_to_its_retry() -> None:
    """R21: the amount of a declined refund is kept for its retry."""
    scenario = Scenario().script("refund", "declined").play("auto 10000; discount 1500; cancel")

    assert scenario.commands == "refund 1500, refund 8500"
    scenario.shows("F 8500, canceled, attention").play("retry refund 1500").shows("F 10000, canceled")
    assert scenario.state["status"] == "canceled"


def test_r22_a_refused_invoice_does_not_prevent_a_cancellation() -> None:
    scenario = Scenario()
    scenario.give(out("1", 100, currency="BRL"))

    assert scenario.give(cancel()).fate == "applied"


# R23, R24


@pytest.mark.parametrize(
    "play",
    [
        "Out 1",
        "hold; Out 1",
        "hold; Out 1; declined settle 1",
        "Out 10000",
        "auto 5000; Out 1",
        "Out 1; return 1",
    ],
)
def test_r23_a_cancellation_after_an_accepted_output_invoice_is_refused(play: str) -> None:
    scenario = Scenario().play(play)
    before = scenario.amounts()

    assert scenario.give(cancel()).fate == "refused"
    assert scenario.refused == ["rejected R23"]
    assert scenario.event("cancel.rejected").rule == "R23"
    assert scenario.amounts() == before


def test_r23_the_merchant_may_change_the_order_instead() -> None:
    Scenario().play("Out 6000; cancel; discount 4000").shows("V 6000, S 6000, C 4000, finished")


def test_r23_abandoning_the_only_failed_settle_lets_the_order_finish() -> None:
    scenario = Scenario().play("hold; Out 6000; declined settle 6000; cancel; discount 4000; abandon settle 6000; go")

    scenario.shows("V 6000, S 0, C 10000, finished")


@pytest.mark.parametrize("first", ["invoice", "cancel"])
def test_r24_of_invoice_and_cancellation_the_first_applied_wins_and_the_other_is_refused(first: str) -> None:
    scenario = Scenario().play("Out 1000; cancel" if first == "invoice" else "cancel; Out 1000")

    assert scenario.refused == ["rejected R23" if first == "invoice" else "rejected R22"]
    assert scenario.order.phase == ("open" if first == "invoice" else "canceled")


@pytest.mark.parametrize("by", ["total", "hold"])
@pytest.mark.parametrize(
    "play", ["cancel; auto {}", "hold; cancel; auto {}; go"], ids=["declined before", "declined after"]
)
@pytest.mark.parametrize("took", [3000, 1])
def test_r22_after_a_declined_cancel_the_rest_of_a_captured_payment_is_booked_as_voided(
    by: str, play: str, took: int
) -> None:
    scenario = Scenario(by=by).script("cancel", "declined").play(play.format(took))
    assert scenario.commands == f"cancel 10000, refund {took}"

    scenario.play("retry cancel 10000")

    assert scenario.commands == f"cancel 10000, refund {took}"
    assert scenario.attention == []
    scenario.shows(f"S {took}, F {took}, C {10000 - took}, open 0, canceled")


@pytest.mark.parametrize("by", ["total", "hold"])
def test_total_and_hold_send_no_void_for_a_part_of_a_settled_payment(by: str) -> None:
    scenario = Scenario(pay("a", 3000, by=by), pay("b", 7000, by=by)).script("cancel", "declined")

    scenario.play("discount 3000; auto 1000 on a; retry cancel 3000")

    assert scenario.commands_of("a") == "cancel 3000"
    scenario.play("Out 7000").shows("S 7000, C 3000, open 0, finished")
