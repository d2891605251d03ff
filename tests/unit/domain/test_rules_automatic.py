"""R27: automatic settlements, which the gateway captured by itself."""

import pytest

from tests.unit.domain.scenario import Scenario, auto, pay


def test_r27_when_a_capture_was_our_own_settle_only_the_invoice_it_paid_is_settled_again() -> None:
    """The 4000 of the capture and of our settle for invoice 1 are the same. All of invoice 2 is in flight (R4)."""
    scenario = Scenario(pay("p1", 10000)).play("auto 4000 as g1; hold; Out 8000; Out 2000; ok settle 4000 as g1")

    assert [(one.value, one.cause_id) for one in scenario.issued] == [(4000, "1"), (2000, "2"), (4000, "1")]
    scenario.play("go").shows("S 10000, finished")


def test_r27_when_a_capture_was_our_own_settle_the_failed_part_of_its_invoice_stays_failed() -> None:
    """Of invoice 1 the capture paid 3000 and the other 3000 failed; only the part of the capture is settled again."""
    scenario = Scenario().play(
        "auto 3000 as g1; hold; Out 6000; declined settle 3000; Out 3000; ok settle 3000 #2 as g1"
    )

    assert scenario.commands == "settle 3000, settle 3000, settle 3000"
    assert [(one.invoice, one.kind, one.amount) for one in scenario.order.lacks] == [("1", "failed", 3000)]


@pytest.mark.parametrize(
    ("came", "lacks"),
    [
        ("declined settle 4000", [("failed", 500), ("failed", 3500)]),
        ("short 1000 settle 4000", [("short", 3000)]),
        ("declined settle 4000; abandon settle 4000", [("abandoned", 500), ("abandoned", 3500)]),
    ],
)
def test_r27_when_a_capture_was_our_own_settle_the_failure_it_covered_is_restored(
    came: str, lacks: list[tuple[str, int]]
) -> None:
    """The gateway reports our second settle before its reply; an operator decides about the first (R39)."""
    scenario = Scenario().play(f"hold; Out 4000; Out 3500; {came}; auto 3500 as g1")
    scenario.play("ok settle 3500 as g1")

    assert scenario.commands == "settle 4000, settle 3500"
    assert [(one.kind, one.amount) for one in scenario.order.lacks] == lacks
    assert sum(one.missing for one in scenario.order.commands.values()) == sum(
        amount for kind, amount in lacks if kind != "abandoned"
    )


def test_r27_when_a_capture_was_our_own_settle_amounts_covered_by_others_stay_covered() -> None:
    """Of 4000 that failed, g1 covered 3000 and g2 of 1500 the rest, with 500 left over, which stay."""
    scenario = Scenario().play("hold; Out 2000; Out 2000; Out 3000; declined settle 2000; declined settle 2000 #2")
    scenario.play("auto 3000 as g1; auto 1500 as g2; ok settle 3000 as g1")

    assert scenario.commands == "settle 2000, settle 2000, settle 3000"
    assert [(one.invoice, one.kind, one.amount) for one in scenario.order.lacks] == [
        ("1", "failed", 1500), ("2", "failed", 1000),
    ]  # fmt: skip


@pytest.mark.parametrize("by", ["total", "hold"])
def test_r27_when_a_capture_was_our_own_settle_what_it_covered_of_an_abandoned_total_is_abandoned_again(
    by: str,
) -> None:
    """The gateway reports the retry on b before b's reply comes: until then it stands in for 1000 of a's 3000."""
    scenario = Scenario(pay("a", 3000, by=by), pay("b", 9000, by=by), value=10000)
    scenario.play("hold; Out 10000; declined settle 3000; abandon settle 3000; short 6000 settle 7000")

    scenario.play("retry settle 7000; auto 1000 on b as g1; ok settle 1000 as g1; go")

    assert (scenario.order.given_up, scenario.lacks("abandoned")) == (3000, 3000)
    scenario.shows("S 7000, finished")


@pytest.mark.parametrize("by", ["total", "hold"])
def test_r27_when_a_capture_was_our_own_settle_what_it_covered_of_a_failed_total_can_be_retried_again(by: str) -> None:
    scenario = Scenario(pay("a", 3000, by=by), pay("b", 9000, by=by), value=10000)
    scenario.play(
        "hold; Out 10000; declined settle 3000; short 6000 settle 7000; retry settle 7000; auto 1000 on b as g1"
    )
    assert scenario.attention == [("failed", 2000)]

    scenario.play("ok settle 1000 as g1")

    assert scenario.attention == [("failed", 3000)]
    scenario.play("retry settle 3000; go").shows("S 10000, finished")


@pytest.mark.parametrize("by", ["total", "hold"])
def test_r27_when_a_capture_was_our_own_settle_each_failed_settle_is_missing_again_what_it_was(by: str) -> None:
    """The oldest invoice lacked b's money, but of a's settle less was missing, while the capture stood in."""
    scenario = Scenario(pay("a", 2000, by=by), pay("b", 5000, by=by), pay("c", 9000, by=by), value=12000)
    scenario.play(
        "hold; Out 6000; Out 6000; declined settle 2000 on a; declined settle 5000 on b; auto 1000 on c as g1"
    )
    assert scenario.attention == [("failed", 1000), ("failed", 5000)]

    scenario.play("short 1000 settle 5000 on c as g1")

    assert scenario.attention == [("failed", 2000), ("failed", 5000), ("short", 4000)]


def test_r27_when_a_capture_was_our_own_settle_what_no_invoice_lacked_yet_can_be_retried_again() -> None:
    scenario = Scenario(pay("a", 10000, by="total"), pay("b", 12000, by="total"), value=20000)
    scenario.play(
        "hold; Out 5000; declined settle 10000 on a; auto 2000 on b as g1; short 2000 settle 10000 on b as g1"
    )

    scenario.play("Out 15000; retry settle 10000 on a; retry settle 10000 on b; go").shows("S 20000, finished")


def test_r27_when_a_capture_was_our_own_settle_what_it_covered_of_a_settle_given_up_since_can_be_retried() -> None:
    """Of 4000 the capture covered 3500, and a person gave up 500; that the 3500 failed too was not known then."""
    scenario = Scenario().play("hold; Out 4000; Out 3500; declined settle 4000; auto 3500 as g1; abandon settle 4000")

    scenario.play("ok settle 3500 as g1; retry settle 4000; go")

    assert scenario.commands == "settle 4000, settle 3500, settle 3500"
    scenario.shows("S 7000, lacks 500")


def test_r27_a_capture_of_one_cent_more_than_the_oldest_invoice_lacks_covers_one_cent_of_the_next() -> None:
    scenario = Scenario().script("settle", "declined", "declined").play("Out 3000; Out 2000; auto 3001")

    scenario.shows("lacks 1999")
    assert scenario.attention == [("failed", 1999)]


def test_r27_an_automatic_settlement_within_the_open_amount_is_booked_under_its_id() -> None:
    scenario = Scenario().play("auto 4000 as g7").shows("S 4000, U 4000, K 4000")

    assert [(one.settle_id, one.automatic) for one in scenario.payment().settlements] == [("g7", True)]
    assert scenario.commands == ""


def test_r27_an_invoice_uses_the_pool_first() -> None:
    scenario = Scenario().play("auto 4000; Out 3000; Out 3000")

    assert scenario.commands == "settle 2000"
    scenario.shows("S 6000, U 0").play("Out 4000").shows("finished")


@pytest.mark.parametrize("by", ["total", "hold"])
def test_r27_total_and_hold_use_the_pool_first_and_settle_the_rest_once(by: str) -> None:
    scenario = Scenario(by=by).play("auto 3000; Out 2000")
    assert scenario.commands == ""

    scenario.play("Out 8000")
    assert scenario.commands == "settle 7000"
    scenario.shows("S 10000, finished")


def test_r27_total_settles_the_rest_with_the_first_invoice_that_the_pool_does_not_cover() -> None:
    scenario = Scenario(by="total").play("auto 3000; Out 2000; Out 1500")

    assert scenario.commands == "settle 7000"


def test_r27_an_automatic_settlement_that_does_not_fit_waits_for_commands_in_flight() -> None:
    scenario = Scenario().play("hold; Out 6000; auto 10000").shows("S 0, P 6000, K 6000")

    assert "payment.auto_settled" not in scenario.event_types
    scenario.play("ok settle 6000")
    assert "payment.suspect" in scenario.event_types
    assert scenario.decisions[-1].judged == [("p1", "g1", True)]


def test_r27_a_waiting_automatic_settlement_is_decided_when_the_commands_have_ended() -> None:
    scenario = Scenario().play("hold; Out 6000; auto 10000; declined settle 6000")

    assert scenario.decisions[-1].judged == [("p1", "g1", False)]
    scenario.shows("S 10000, lacks 0, U 4000")


def test_r27_an_automatic_settlement_waits_only_for_commands_of_its_own_payment() -> None:
    scenario = Scenario(pay("a", 7000), pay("b", 3000)).play("hold; Out 2000; auto 7000 on a")

    scenario.shows("S 7000, P 2000")


def test_r27_manual_unknown_and_suspect_commands_count_as_in_flight() -> None:
    for trouble in ("manual", "unknown", "suspect"):
        scenario = Scenario().play(f"hold; Out 6000; {trouble} settle 6000; auto 10000").shows("S 0, P 6000")
        scenario.play("resolve not settle 6000").shows("S 10000, P 0, lacks 0")


def test_r27_an_automatic_settlement_undoes_voids_that_were_only_booked() -> None:
    scenario = Scenario(by="total").play("discount 2000; auto 10000")

    assert scenario.commands == "refund 2000"
    scenario.shows("S 10000, F 2000, K 8000, C 0").play("Out 8000").shows("finished")


def test_r27_an_automatic_settlement_does_not_undo_voids_that_were_sent() -> None:
    scenario = Scenario().play("discount 2000; auto 10000")

    assert scenario.refused == ["suspect R27"]
    scenario.shows("S 0, C 2000, K 0, attention")


def test_r27_an_automatic_settlement_up_to_the_cap_is_booked_and_its_surplus_refunded() -> None:
    scenario = Scenario(pay("p1", 10000, cap=12000)).play("auto 11000 as g1")

    assert scenario.commands == "refund 1000"
    assert (scenario.issued[0].cause_kind, scenario.issued[0].cause_id, scenario.issued[0].settle_id) == (
        "surplus",
        "g1",
        "g1",
    )
    scenario.shows("S 11000, F 1000, K 10000")


def test_r27_an_automatic_settlement_above_the_cap_is_suspect_and_freezes_nothing() -> None:
    scenario = Scenario().play("auto 10001 as g1").shows("S 0, open 10000, attention")

    assert scenario.refused == ["suspect R27"]
    assert scenario.event("payment.suspect").rule == "R27"
    assert not scenario.state["payments"][0]["frozen"]
    assert scenario.attention == [("suspect", 10001)]
    scenario.play("Out 10000").shows("S 10000, invoiced, attention")
    scenario.play("abandon auto g1").shows("finished")
    assert scenario.state["status"] == "finished"


def test_r27_a_repeated_suspect_automatic_settlement_is_a_duplicate() -> None:
    scenario = Scenario().play("auto 10001 as g1; again")

    assert scenario.fates["duplicate"] == 1
    assert scenario.event_types.count("payment.suspect") == 1


def test_r27_a_repeated_abandoned_automatic_settlement_is_a_duplicate() -> None:
    """R8: a repeated refused fact stays refused. A redelivery must not raise the alarm again."""
    scenario = Scenario().play("Out 10000; auto 1 as g1; abandon auto g1")
    scenario.give(auto(1, "p1", "g1"))

    assert scenario.fates["duplicate"] == 1
    assert scenario.state["status"] == "finished"


def test_r27_a_suspect_automatic_settlement_with_another_value_is_a_conflict_or_new() -> None:
    scenario = Scenario().play("auto 10001 as g1")

    assert scenario.give(auto(500, "p1", "g1")).fate in ("refused", "applied")


def test_r27_a_capture_reported_after_our_settle_with_its_id_is_a_duplicate() -> None:
    scenario = Scenario().play("hold; Out 3000; ok settle 3000 as X; go; auto 3000 as X")

    assert scenario.fates["duplicate"] == 1
    scenario.shows("S 3000, K 3000")


def test_r27_a_waiting_capture_with_the_id_of_our_settle_is_a_duplicate() -> None:
    scenario = Scenario().play("hold; Out 6000; auto 6000 as X; ok settle 6000 as X; go")

    scenario.shows("S 6000, P 0, open 4000, K 6000")
    assert "payment.suspect" not in scenario.event_types


def test_r27_a_booked_capture_with_the_id_of_our_settle_is_a_duplicate() -> None:
    """R27 ("that command: a duplicate") goes before R32 ("an operation id used by an automatic settlement")."""
    scenario = (
        Scenario().play("hold; Out 3000; auto 3000 as X; ok settle 3000 as X; go").shows("S 3000, P 0, K 3000, lacks 0")
    )

    assert len(scenario.payment().settlements) == 1
    scenario.play("Out 7000").shows("S 10000, finished")
    assert scenario.commands == "settle 3000, settle 7000"


def test_r27_an_automatic_settlement_covers_failed_invoices_oldest_first() -> None:
    scenario = Scenario().script("settle", "declined", "declined").play("Out 3000; Out 2000; auto 4000")

    scenario.shows("lacks 1000, U 0")
    assert [(one["invoiceNumber"], one["status"]) for one in scenario.state["invoices"]] == [
        ("1", "settled"), ("2", "settlement_failed"),
    ]  # fmt: skip
    assert scenario.attention == [("failed", 1000)]
    scenario.play("auto 2000").shows("lacks 0, U 1000")
    assert scenario.state["status"] == "open"


def test_r16_room_below_the_cap_covers_an_increase_after_a_voided_discount() -> None:
    scenario = Scenario(pay("p1", 10000, cap=12000)).play("discount 1500; increase 1500; Out 10000")

    scenario.shows("S 10000, finished")


def test_r27_a_capture_for_a_failed_settle_leaves_the_waiting_amount_waiting() -> None:
    scenario = Scenario(pay("p1", 6000, in_hours=48), value=10000)
    scenario.play("hold; Out 10000; wait 48h; declined settle 6000; auto 6000").shows("S 6000, waits 4000, lacks 4000")

    scenario.play("go; pay p2 4000").shows("S 10000, finished")


def test_r27_a_surplus_over_the_orders_value_is_refunded_at_once() -> None:
    scenario = Scenario(pay("p1", 10000), value=8000).play("auto 10000")

    assert scenario.commands == "refund 2000"
    scenario.play("Out 8000").shows("K 8000, finished")


def test_r27_two_automatic_settlements_each_refund_their_own_surplus() -> None:
    scenario = Scenario(pay("p1", 10000), value=6000).play("auto 5000 as g1; auto 5000 as g2")

    assert sum(one.value for one in scenario.issued) == 4000
    assert {one.cause_id for one in scenario.issued} == {"g2"}


def test_r27_an_automatic_settlement_of_what_had_been_open_is_booked_on_a_lapsed_payment() -> None:
    scenario = Scenario(pay("p1", 10000, in_hours=48)).play("Out 4000; wait 48h; auto 6000").shows("S 10000, K 10000")

    scenario.play("Out 6000").shows("finished")


def test_r27_when_a_capture_was_our_own_settle_the_newest_invoices_lack_its_amount() -> None:
    scenario = Scenario().play("hold; Out 3000; auto 3000 as g1; Out 1; Out 2999; ok settle 3000 as g1; go")

    assert [(one.cause_id, one.value) for one in scenario.issued] == [("1", 3000), ("2", 1), ("3", 2999)]
    scenario.shows("S 6000, O 6000, lacks 0")


def test_r27_when_a_capture_was_our_own_settle_an_invoice_that_failed_twice_stays_failed() -> None:
    scenario = Scenario(pay("p1", 6000), pay("p2", 6000)).play("auto 3000 as g1; hold; Out 3000; Out 6000")
    scenario.play("declined settle 3000 on p1; declined settle 3000 on p2; Out 3000; ok settle 3000 on p1 as g1; go")

    assert [(one.cause_id, one.value) for one in scenario.issued[2:]] == [("3", 3000), ("1", 3000)]
    assert [scenario.invoice(number)["status"] for number in "123"] == ["settled", "settlement_failed", "settled"]


def test_r27_a_return_never_lacks_money() -> None:
    scenario = Scenario(returns="after_invoiced")
    scenario.play("hold; Out 3000; auto 3000 as g1; Out 3000; return 500; ok settle 3000 as g1; go")

    assert [(one.cause_id, one.value) for one in scenario.issued] == [("1", 3000), ("2", 3000)]
