"""R25 and R26: several payments, and interest."""

import pytest

from tests.unit.domain.scenario import Scenario, added, out, pay, tracking
from worker.domain.money import MAX_MINOR

INTEREST = pay("p1", 10800, reference=10000)

# R25


def test_r25_the_lowest_authorized_amount_is_settled_first() -> None:
    scenario = Scenario(pay("a", 5000), pay("b", 2000), pay("c", 3000)).play("Out 4000; Out 4000")

    assert (scenario.commands_of("b"), scenario.commands_of("c"), scenario.commands_of("a")) == (
        "settle 2000", "settle 2000, settle 1000", "settle 3000",
    )  # fmt: skip


def test_r25_ties_go_in_payment_order() -> None:
    scenario = Scenario(pay("z", 5000), pay("a", 5000)).play("Out 6000")

    assert (scenario.commands_of("z"), scenario.commands_of("a")) == ("settle 5000", "settle 1000")


def test_r25_later_payments_come_last_and_among_them_the_lowest_first() -> None:
    scenario = Scenario().play("increase 6000; pay l1 4000; pay l2 1000; pay l3 1000; Out 13500")

    assert [(one.payment_id, one.value) for one in scenario.issued] == [
        ("p1", 10000), ("l2", 1000), ("l3", 1000), ("l1", 1500),
    ]  # fmt: skip


def test_r25_voids_are_allocated_in_the_same_order() -> None:
    scenario = Scenario(pay("a", 7000), pay("b", 3000)).play("discount 4000")

    assert (scenario.commands_of("b"), scenario.commands_of("a")) == ("cancel 3000", "cancel 1000")


def test_r25_open_amounts_are_used_before_the_room_above_in_the_same_order() -> None:
    scenario = Scenario(pay("a", 7000, cap=8000), pay("b", 3000, cap=3500)).play("increase 1200; Out 10100; Out 1100")

    assert scenario.commands_of("b") == "settle 3100, settle 400"
    assert scenario.commands_of("a") == "settle 7000, settle 700"


def test_r25_several_payments_may_have_no_limit() -> None:
    scenario = Scenario(pay("a", 7000, cap=MAX_MINOR), pay("b", 3000, cap=MAX_MINOR))

    assert scenario.give(added(pay("c", 500, cap=MAX_MINOR))).fate == "applied"
    scenario.play("increase 5000; Out 15000")
    assert (scenario.commands_of("b"), scenario.commands_of("a"), scenario.commands_of("c")) == (
        "settle 7500",
        "settle 7000",
        "settle 500",
    )


def test_r25_room_above_stays_below_the_cap_when_a_part_was_voided() -> None:
    """`Room` is M − S − P − C − D: a void uses it up like a settle."""
    scenario = Scenario(pay("p1", 10000, cap=12000)).play("discount 1500; increase 5000; Out 13500")

    assert scenario.commands == "cancel 1500, settle 10500"
    scenario.shows("waits 3000")


@pytest.mark.parametrize("trouble", ["unknown", "suspect"])
def test_r25_a_frozen_payment_is_allocated_its_part_which_waits_in_its_queue(trouble: str) -> None:
    scenario = Scenario(pay("a", 7000), pay("b", 3000)).play(f"hold; Out 1000; {trouble} settle 1000; Out 3000; go")

    assert scenario.commands_of("b") == "settle 1000, settle 2000"
    assert scenario.commands_of("a") == "settle 1000"
    scenario.shows("S 1000, P 3000").play("resolve 1000 settle 1000 on b").shows("S 4000, P 0")


# R26


@pytest.mark.parametrize(
    ("value", "parts", "settled"),
    [
        (10800, [3333, 3333, 3334], [3600, 3599, 3601]),
        (10800, [5000, 5000], [5400, 5400]),
        (9500, [3333, 6667], [3166, 6334]),
        (10001, [5000, 5000], [5000, 5001]),
        (10003, [5000, 5000], [5002, 5001]),
        (7, [5000, 4999, 1], [4, 3]),
    ],
)
def test_r26_a_command_takes_its_part_rounded_half_even_and_the_last_takes_all(
    value: int, parts: list[int], settled: list[int]
) -> None:
    """10001 · ½ = 5000.5 is rounded to the even 5000, 10003 · ½ = 5001.5 to the even 5002."""
    scenario = Scenario(pay("p1", value, reference=10000))
    for number, part in enumerate(parts):
        scenario.give(out(str(number), part))

    assert [one.value for one in scenario.issued] == settled
    scenario.shows(f"S {value}, K 10000, finished")


def test_r26_voids_are_converted_like_settles() -> None:
    scenario = Scenario(INTEREST).play("discount 1500; Out 8500")

    assert scenario.commands == "cancel 1620, settle 9180"
    scenario.shows("V 8500, finished")


def test_r26_refunds_are_converted_at_the_rate_of_their_settlement() -> None:
    scenario = Scenario(INTEREST).play("Out 5000; return 2500; return 2500")

    assert scenario.commands == "settle 5400, refund 2700, refund 2700"


def test_r26_the_last_refund_takes_all_that_is_left_of_its_settlement() -> None:
    scenario = Scenario(INTEREST).play("Out 3333; Out 3333; Out 3334; return 9999; return 1")

    assert sum(one.value for one in scenario.issued if one.operation == "refund") == 10800
    scenario.shows("F 10800, R 10000")


def test_r26_a_refund_too_small_for_a_minor_unit_goes_with_the_next_one() -> None:
    """100 are worth 40: a return of 1 is worth 0.4, two of them 0.8."""
    scenario = Scenario(pay("p1", 40, reference=100), value=100).play("Out 100; return 1")
    assert scenario.commands == "settle 40"

    scenario.play("return 1").shows("F 1").play("return 1; return 97")

    assert scenario.commands == "settle 40, refund 1, refund 39"
    scenario.shows("F 40, R 100, finished")


def test_r26_refunds_too_small_for_a_minor_unit_add_up() -> None:
    """100 are worth 10: five returns of 1 are worth half a unit, rounded to the even 0; six are worth more."""
    scenario = Scenario(pay("p1", 10, reference=100), value=100).play("Out 100" + "; return 1" * 5)
    assert scenario.commands == "settle 10"

    assert scenario.play("return 1").commands == "settle 10, refund 1"


def test_r26_a_refund_too_small_for_a_minor_unit_does_not_make_more_wait_than_was_returned() -> None:
    scenario = Scenario(pay("p1", 40, reference=100), value=100).play("Out 40; return 1; hold; Out 60; return 45")
    assert scenario.commands == "settle 16, settle 24, refund 16"
    assert sum(one.amount for one in scenario.order.demands) == 5

    scenario.play("go").shows("F 18, R 46, finished")


def test_r26_a_refund_too_small_for_a_minor_unit_does_not_delay_a_later_one() -> None:
    scenario = Scenario(pay("p1", 40, reference=100), value=100).play("Out 100; return 1; return 98; return 1")

    assert scenario.commands == "settle 40, refund 40"
    scenario.shows("F 40, R 100, finished")


def test_r26_above_the_authorized_amount_the_rate_is_the_payments_own_rounded_down() -> None:
    scenario = Scenario(pay("p1", 10800, reference=10000, cap=12000)).play("increase 1000; Out 11000")

    assert scenario.commands == "settle 11880"
    assert "authorization.needed" not in scenario.event_types


def test_r26_room_counts_in_reference_value() -> None:
    """1200 above at 10800/10000 are worth 1111: an increase of 2000 needs 889 more."""
    scenario = Scenario(pay("p1", 10800, reference=10000, cap=12000)).play("increase 2000")

    assert 889 in scenario.event("authorization.needed").numbers.values()


def test_r26_an_amount_that_waits_for_authorization_is_not_reduced_by_later_facts() -> None:
    """The last cent above 9000 is worth 1 and sends nothing: it waits with the rest and is settled with it (R16)."""
    scenario = Scenario(pay("p1", 9000, reference=10000, cap=9500), value=12000).play("Out 12000").shows("waits 1445")
    for parcel in "abc":
        scenario.give(tracking("1", trackingNumber=parcel))

    scenario.shows("K 10555, waits 1445").play("pay p2 1445").shows("S 10944, K 12000, finished")
    assert scenario.commands_of("p2") == "settle 1445"


def test_r26_an_automatic_settlement_counts_at_the_rate_of_what_is_open() -> None:
    Scenario(INTEREST).play("auto 5400").shows("S 5400, K 5000")
    Scenario(INTEREST).play("auto 10800").shows("S 10800, K 10000")
    Scenario(INTEREST).play("auto 10800; Out 10000").shows("finished")


def test_r26_a_shortfall_counts_at_the_rate_of_what_was_asked() -> None:
    scenario = Scenario(INTEREST).play("hold; Out 5000; short 2700 settle 5400; go").shows("S 2700, K 2500, lacks 2500")

    scenario.play("retry settle 5400")
    assert scenario.commands == "settle 5400, settle 2700"
    scenario.shows("S 5400, K 5000, lacks 0")


def test_r26_the_snapshot_shows_a_shortfall_in_real_value() -> None:
    scenario = Scenario(INTEREST).play("hold; Out 5000; short 2700 settle 5400; go")

    assert scenario.attention == [("short", 2700)]


def test_r26_a_part_that_rounds_to_zero_sends_nothing_and_is_taken_with_the_next_command() -> None:
    scenario = Scenario(pay("p1", 1, reference=100)).play("Out 30").shows("S 0, O 30")
    assert scenario.commands == ""

    scenario.play("Out 30")
    assert scenario.commands == "settle 1"
    scenario.play("Out 40")
    assert scenario.commands == "settle 1"
    scenario.shows("S 1, O 100, finished")


def test_r26_a_part_that_rounds_to_zero_goes_to_the_next_payment() -> None:
    scenario = Scenario(pay("tiny", 1, reference=100), pay("p2", 1000)).play("Out 30")

    assert scenario.commands == "settle 30"
    assert scenario.issued[0].payment_id == "p2"


@pytest.mark.parametrize("by", ["partial", "total", "hold"])
def test_r26_a_part_that_rounds_to_zero_counts_as_taken_if_no_command_follows(by: str) -> None:
    """30 of 100 are worth less than half of the payment's 1, so the order finishes without a settle."""
    scenario = Scenario(pay("tiny", 1, reference=100, by=by), value=30).play("Out 30")

    assert "settle" not in scenario.commands
    scenario.shows("S 0, K 30, lacks 0, finished")


def test_r26_parts_that_round_to_zero_wait_together_for_the_next_command() -> None:
    """Neither sale of 1 is worth a cent, nor are both; the third takes them along."""
    scenario = Scenario(pay("tiny", 2, reference=100), value=100).play("Out 1; Out 1")

    assert scenario.commands == ""
    scenario.play("Out 98")
    assert scenario.commands == "settle 2"
    scenario.shows("S 2, K 100, lacks 0, finished")


def test_r26_a_part_that_rounds_to_zero_waits_for_the_next_command_while_one_unit_of_room_is_left() -> None:
    """The card allows one unit above the 10, which is worth two sales of 1."""
    scenario = Scenario(pay("p1", 10, reference=20, cap=11)).play("increase 2; Out 20; Out 1").shows("S 10, K 20")

    scenario.play("Out 1").shows("S 11, K 22, finished")


def test_r26_a_failed_amount_never_counts_as_a_part_that_rounds_to_zero() -> None:
    """Of a, 10000 are worth 1: the 2000 that b has no room for round to 0. The 2000 that failed can be retried."""
    scenario = Scenario(pay("a", 1, reference=10000, by="total"), pay("b", 2000, by="total"), value=4000)
    scenario.script("settle", "declined").play("Out 1000; Out 1000")
    assert scenario.lacks("failed") == 2000

    scenario.play("Out 2000; retry settle 2000")

    assert scenario.commands_of("b") == "settle 2000, settle 2000"
    scenario.shows("S 2000, K 4000, finished")


def test_r26_an_abandoned_amount_never_counts_as_a_part_that_rounds_to_zero() -> None:
    """Only the 2000 that b has no room for count as taken: the 2000 that were given up stay lacking."""
    scenario = Scenario(pay("a", 1, reference=10000, by="total"), pay("b", 2000, by="total"), value=4000)
    scenario.script("settle", "declined").play("Out 500; abandon settle 2000; Out 1000; Out 2500")

    scenario.shows("S 0, K 2000, lacks 2000, finished")


@pytest.mark.parametrize(("by", "first"), [("partial", 100), ("total", 100), ("total", 10), ("hold", 300)])
def test_r26_what_is_left_of_a_failed_settle_counts_as_taken_once_it_rounds_to_zero(by: str, first: int) -> None:
    """Of a, 100 are worth 10. The gateway captures 96 of them on b: nobody can retry the 4 that are left."""
    scenario = Scenario(pay("a", 10, reference=100, by=by), pay("b", 296, by=by), value=300)
    scenario.play(f"hold; Out {first}; declined settle 10; go; auto 96 on b")
    assert scenario.attention == []

    scenario.play(f"Out {300 - first or 1}").shows("K 300, lacks 0, finished")
    scenario.play("return 300").shows("R 300, finished")
    assert scenario.payment("b").refunded == scenario.payment("b").settled


def test_r26_refunds_that_round_to_zero_send_nothing() -> None:
    scenario = Scenario(pay("p1", 2, reference=100)).play("Out 100; return 1; return 49; return 50")

    assert all(one.value > 0 for one in scenario.issued)
    scenario.shows("F 2, R 100, finished")


def test_r26_a_return_that_rounds_to_zero_has_not_failed_and_is_refunded_with_the_next_one() -> None:
    scenario = Scenario(pay("p1", 2, reference=100)).play("Out 100; return 1")
    assert (scenario.invoice("r1")["done"], scenario.invoice("r1")["status"]) == (0, "accepted")

    scenario.play("return 49")
    assert scenario.commands == "settle 2, refund 1"
    assert (scenario.invoice("r1")["done"], scenario.invoice("r1")["status"]) == (1, "refunded")


def test_r26_a_return_of_what_counts_as_taken_counts_as_refunded() -> None:
    scenario = Scenario(pay("tiny", 1, reference=100), value=30).play("Out 30; return 30")

    scenario.shows("S 0, F 0, R 30, finished")
    assert (scenario.invoice("r1")["done"], scenario.invoice("r1")["status"]) == (30, "refunded")


def test_r26_a_discount_of_a_payment_below_par_is_converted_at_its_rate() -> None:
    scenario = Scenario(pay("p1", 9500, reference=10000)).play("discount 5000; Out 5000")

    assert scenario.commands == "cancel 4750, settle 4750"
    scenario.shows("finished")
