"""R13–R17: discounts and increases."""

import pytest

from tests.unit.domain.scenario import Scenario, change, pay

# R13


def test_r13_a_change_applies_its_discount_and_its_increment() -> None:
    Scenario().play("change -1500 +1000; increase 200; discount 50").shows("V 9650")


def test_r13_a_change_is_allowed_while_settles_are_in_flight() -> None:
    Scenario().play("hold; Out 6000; discount 1500").shows("P 6000, D 1500, V 8500")


# R14


@pytest.mark.parametrize(
    ("before", "refused"),
    [
        ("", change("x", 700, 700)),
        ("", change("x", 0, 0)),
        ("", change("x", 10000)),
        ("", change("x", 10001)),
        ("", change("x", 12000, 2000)),
        ("Out 6000", change("x", 4001)),
        ("Out 6000", change("x", 9000, 4999)),
        ("hold; Out 10000", change("x", 0, 100)),
        ("Out 10000", change("x", 0, 100)),
        ("Out 10000", change("x", 100)),
        ("cancel", change("x", 100)),
        ("cancel", change("x", 0, 100)),
        ("Out 10000", change("x", 0, 0, items=True)),
    ],
)
def test_r14_an_impossible_change_is_refused_with_its_reason_and_moves_no_money(before: str, refused) -> None:
    scenario = Scenario().play(before)
    commands, amounts = scenario.commands, scenario.amounts()

    assert scenario.give(refused).fate == "refused"

    assert scenario.refused == ["rejected R14"]
    assert (scenario.commands, scenario.amounts()) == (commands, amounts)
    assert "(R14)" in scenario.event("change.rejected").reason


def test_r14_item_changes_at_equal_value_are_accepted_and_move_nothing() -> None:
    for amount in (0, 700):
        scenario = Scenario()
        assert scenario.give(change("x", amount, amount, items=True)).fate == "applied"
        assert scenario.commands == ""
        assert "change.accepted" in scenario.event_types


def test_r14_each_kind_of_impossible_change_has_its_own_reason() -> None:
    reasons = set()
    for before, fact in (
        ("", change("x", 700, 700)), ("", change("x", 10000)), ("Out 6000", change("x", 4001)),
        ("Out 10000", change("x", 1)), ("cancel", change("x", 1)),
    ):  # fmt: skip
        scenario = Scenario().play(before)
        scenario.give(fact)
        reasons.add(scenario.refusals[-1].reason)
    assert len(reasons) == 5


def test_r14_a_discount_to_exactly_what_is_invoiced_is_accepted() -> None:
    Scenario().play("Out 6000; discount 4000").shows("V 6000, finished")


# R15: r = max(0, K − V'), void min(d − r, max(0, Σopen − max(0, V' − K)))


@pytest.mark.parametrize(
    ("before", "discount", "commands"),
    [
        ("", 1500, "cancel 1500"),
        ("auto 10000", 1500, "refund 1500"),
        ("auto 9000", 1500, "cancel 1000, refund 500"),
        ("auto 5000", 6000, "cancel 5000, refund 1000"),
        ("increase 1500", 1500, ""),
        ("increase 1500", 2500, "cancel 1000"),
        ("increase 1500; auto 10000", 1500, ""),
        ("increase 1500; auto 10000", 2500, "refund 1000"),
        ("auto 3000; Out 2000", 7500, "cancel 7000, refund 500"),
    ],
)
def test_r15_a_discount_voids_first_then_refunds_and_skips_what_was_never_authorized(
    before: str, discount: int, commands: str
) -> None:
    scenario = Scenario().play(before).play("hold")
    scenario.give(change("x", discount))

    assert scenario.commands == commands


def test_r15_the_void_and_the_refund_name_the_change_as_their_cause() -> None:
    scenario = Scenario().play("auto 9500; discount 1000 as c7")

    assert [(one.operation, one.cause_kind, one.cause_id) for one in scenario.issued] == [
        ("cancel", "change", "c7"), ("refund", "change", "c7"),
    ]  # fmt: skip


def test_r15_money_in_flight_counts_as_taken() -> None:
    """PARTIAL, 6000 in flight: K = 6000, so a discount of 1500 voids 1500 of the 4000 that are open."""
    Scenario().play("hold; Out 6000; discount 1500").shows("P 6000, D 1500, G 0")


def test_r15_a_refund_whose_settle_is_in_flight_waits_for_it() -> None:
    scenario = Scenario(by="total").play("hold; Out 2000; discount 1500").shows("refunds_wait 1500, G 0, K 8500")

    assert "refund.waiting" in scenario.event_types
    scenario.play("ok settle 10000").shows("G 1500, refunds_wait 0")
    assert scenario.commands == "settle 10000, refund 1500"


def test_r15_a_waiting_refund_is_dropped_if_its_settle_fails() -> None:
    scenario = Scenario(by="total").play("hold; Out 2000; discount 1500; declined settle 10000; go")

    assert scenario.commands == "settle 10000"
    scenario.shows("K 0, refunds_wait 0, F 0")


def test_r15_after_a_refund_was_dropped_a_retry_settles_the_new_total() -> None:
    scenario = Scenario(by="total").play("hold; Out 2000; discount 1500; declined settle 10000; go; retry settle 10000")

    assert scenario.commands == "settle 10000, settle 8500"
    scenario.play("Out 6500").shows("V 8500, S 8500, C 1500, F 0, finished")


def test_r15_a_waiting_refund_is_reduced_by_what_its_settle_came_short() -> None:
    """Assumed: with a shortfall of 1000, only 500 of the 1500 are too much and are refunded."""
    scenario = Scenario(by="total").play("hold; Out 2000; discount 1500; short 9000 settle 10000; go; Out 6500")

    assert scenario.commands == "settle 10000, refund 500"
    scenario.shows("S 9000, F 500, K 8500, finished")


def test_r15_only_the_part_of_a_refund_that_no_settlement_covers_waits() -> None:
    scenario = Scenario(pay("a", 7000, by="total"), pay("b", 3000, by="total"))
    scenario.play("hold; Out 2000; ok settle 3000; discount 4000")

    assert scenario.commands == "settle 3000, settle 7000, refund 3000"
    scenario.shows("refunds_wait 1000").play("go").shows("F 4000, refunds_wait 0")


def test_r15_a_declined_settle_drops_only_the_refund_that_waited_for_it() -> None:
    """b confirmed, a declined: K would be 3000 < V', so the refund of 1000 that waited for a is dropped."""
    scenario = Scenario(pay("a", 7000, by="total"), pay("b", 3000, by="total"))
    scenario.play("hold; Out 2000; ok settle 3000; discount 4000; declined settle 7000; go")

    assert scenario.commands == "settle 3000, settle 7000, refund 3000"
    scenario.shows("refunds_wait 0, F 3000, K 0")


def test_r15_a_decrease_to_what_is_invoiced_closes_the_order() -> None:
    scenario = Scenario().play("hold; Out 6000; discount 4000")

    assert "order.invoiced" in scenario.event_types
    scenario.shows("invoiced").play("go").shows("finished")


def test_r15_a_discount_of_a_waiting_increase_voids_and_refunds_nothing() -> None:
    scenario = Scenario().play("increase 2000; Out 11000; discount 1000")

    assert scenario.commands == "settle 10000"
    scenario.shows("V 11000, waits 1000, invoiced")


def test_r15_a_discount_is_taken_first_from_what_was_never_authorized() -> None:
    Scenario(pay("p1", 6000), value=10000).play("discount 3000").shows("V 7000, C 0, open 6000")
    Scenario(pay("p1", 6000), value=10000).play("discount 5000").shows("V 5000, C 1000, open 5000")


def test_r15_authorization_above_the_order_value_stays_open_until_the_order_finishes() -> None:
    """V 8000 of A 10000: a discount of 1000 voids min(1000, 10000 − 7000), the other 2000 wait for `finish`."""
    Scenario(pay("p1", 10000), value=8000).play("discount 1000").shows("C 1000, open 9000")


# R16


@pytest.mark.parametrize("mode", ["partial", "total", "hold"])
def test_r16_an_increase_moves_no_money(mode: str) -> None:
    scenario = Scenario(by=mode).play("increase 1500")

    assert scenario.commands == ""
    scenario.shows("V 11500")


@pytest.mark.parametrize(
    ("cap", "before", "increase", "needed"),
    [
        (None, "", 1500, 1500),
        (12000, "", 1500, None),
        (12000, "", 2000, None),
        (12000, "", 2001, 1),
        (None, "discount 500; Out 6000", 1500, 1500),
        (12000, "Out 6000; discount 1500", 3000, 1000),
        (None, "auto 4000", 700, 700),
    ],
)
def test_r16_an_increase_names_the_missing_authorization(
    cap: int | None, before: str, increase: int, needed: int | None
) -> None:
    scenario = Scenario(pay("p1", 10000, cap=cap)).play(before)
    scenario.give(change("x", 0, increase))

    if needed is None:
        assert "authorization.needed" not in scenario.event_types
    else:
        assert needed in scenario.event("authorization.needed").numbers.values()


def test_r16_an_order_above_its_payments_names_the_missing_authorization_at_once() -> None:
    scenario = Scenario(pay("p1", 6000), value=10000)

    assert 4000 in scenario.event("authorization.needed").numbers.values()


def test_r16_waiting_amounts_are_settled_oldest_first_as_payments_arrive() -> None:
    scenario = Scenario().play("increase 3000; Out 9000; Out 2500; Out 1000").shows("S 10000, waits 2500")

    scenario.play("pay p2 2000").shows("waits 500")
    assert scenario.commands == "settle 9000, settle 1000, settle 1500, settle 500"
    assert [one.cause_id for one in scenario.issued] == ["1", "2", "2", "3"]
    scenario.play("pay p3 1000").shows("S 12500, waits 0, open 500")


def test_r16_a_declined_void_makes_room_for_a_waiting_amount() -> None:
    scenario = Scenario().play("hold; discount 1500; increase 1500; Out 10000").shows("P 8500, waits 1500")

    scenario.play("declined cancel 1500; go")
    assert scenario.commands == "cancel 1500, settle 8500, settle 1500"
    scenario.shows("S 10000, C 0, finished")


def test_r16_a_later_payment_is_used_last() -> None:
    scenario = Scenario().play("increase 1000; pay p2 1000; Out 11000")

    assert (scenario.commands_of("p1"), scenario.commands_of("p2")) == ("settle 10000", "settle 1000")


def test_r16_a_later_payment_settles_no_more_than_the_order_needs() -> None:
    scenario = Scenario().play("increase 1000; pay p2 5000; Out 11000")

    assert (scenario.commands_of("p1"), scenario.commands_of("p2")) == ("settle 10000", "settle 1000, cancel 4000")
    scenario.shows("finished")


def test_r16_a_failed_amount_does_not_wait_and_is_not_settled_by_a_new_payment() -> None:
    """R35: the amount is neither moved to another payment nor asked again by itself."""
    scenario = Scenario().script("settle", "declined").play("Out 6000; pay p2 6000")

    assert scenario.commands == "settle 6000"
    scenario.shows("lacks 6000, waits 0")
