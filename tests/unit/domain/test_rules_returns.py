"""R18–R21: returns, and the payments that are refunded."""

import pytest

from tests.unit.domain.scenario import Scenario, pay, ret

# R18


def test_r18_a_return_refunds_its_value_automatically() -> None:
    scenario = Scenario().play("Out 6000; return 2500 as r1")

    assert scenario.commands == "settle 6000, refund 2500"
    assert (scenario.issued[1].cause_kind, scenario.issued[1].cause_id) == ("invoice", "r1")
    assert scenario.issued[1].settle_id == "settle-1"
    assert scenario.invoice("r1")["status"] == "refunded"


@pytest.mark.parametrize(
    ("play", "most"),
    [
        ("Out 6000", 6000),
        ("Out 6000; return 1000", 5000),
        ("hold; Out 6000", 6000),
        ("hold; Out 6000; unknown settle 6000", 6000),
        ("hold; Out 6000; manual settle 6000", 6000),
        ("hold; Out 6000; short 4500 settle 6000", 4500),
        ("Out 3000; hold; Out 3000 as 2; declined settle 3000 #2", 3000),
        ("Out 3000; hold; Out 3000 as 2; declined settle 3000 #2; abandon settle 3000 #2", 3000),
        ("hold; Out 6000; short 4500 settle 6000; retry settle 6000", 6000),
        ("auto 10000; discount 1500; Out 8500", 8500),
        ("Out 12000", 10000),
        ("Out 10000; Out 500", 10000),
        ("increase 2000; Out 11000", 11000),
    ],
)
def test_r18_returns_never_exceed_the_invoiced_amount_less_what_failed(play: str, most: int) -> None:
    scenario = Scenario().play(play)

    assert scenario.give(ret("most", most + 1)).fate == "refused"
    assert scenario.refused[-1] == "rejected R18"
    assert scenario.event("invoice.rejected").rule == "R18"
    assert scenario.give(ret("fits", most)).fate == "applied"
    assert scenario.give(ret("more", 1)).fate == "refused"


def test_r18_nothing_can_be_returned_of_a_failed_invoice_or_before_any_invoice() -> None:
    assert Scenario().play("hold; Out 6000; declined settle 6000; return 1").refused == ["rejected R18"]
    assert Scenario().play("return 1").refused == ["rejected R18"]
    assert Scenario().play("cancel; return 1").fates["refused"] == 1


def test_r18_a_lapsed_amount_can_be_returned_until_it_is_abandoned() -> None:
    scenario = Scenario(pay("p1", 10000, in_hours=48)).play("Out 4000; wait 48h; Out 3000 as late")

    assert scenario.give(ret("r1", 7001)).fate == "refused"
    scenario.play("abandon invoice late")
    assert scenario.give(ret("r2", 4001)).fate == "refused"
    assert scenario.give(ret("r3", 4000)).fate == "applied"


def test_r18_refunds_of_a_change_do_not_reduce_what_can_be_returned() -> None:
    Scenario().play("auto 10000; discount 1500; Out 8500; return 8500").shows("F 10000, R 8500")


def test_r18_a_return_without_a_confirmed_settlement_waits_and_is_reported() -> None:
    scenario = Scenario().play("hold; Out 6000; return 2500")

    scenario.shows("G 0, refunds_wait 2500, R 2500")
    assert scenario.event("refund.waiting").rule in ("R18", "R21")
    assert scenario.invoice("r1")["status"] == "refund_waiting"
    assert scenario.state["refundsWaiting"] == 2500
    scenario.play("go").shows("F 2500, refunds_wait 0")
    assert scenario.commands == "settle 6000, refund 2500"


def test_r18_a_waiting_return_survives_a_failed_settle_until_an_operator_decides() -> None:
    scenario = Scenario().play("hold; Out 6000; return 2500; declined settle 6000").shows("refunds_wait 2500")

    scenario.play("retry settle 6000; ok settle 6000 #2; go").shows("S 6000, F 2500")


# R19


def test_r19_a_return_does_not_reopen_an_invoiced_order() -> None:
    scenario = Scenario().play("Out 10000; return 4000; Out 4000")

    assert "invoice.standalone" in scenario.event_types
    assert scenario.commands == "settle 10000, refund 4000"


def test_r19_a_return_does_not_reduce_what_can_still_be_invoiced() -> None:
    Scenario().play("Out 6000; return 6000; Out 4000; return 4000").shows(
        "O 10000, R 10000, S 10000, F 10000, finished"
    )


# R20


def test_r20_the_strict_switch_stores_a_return_until_the_order_is_invoiced() -> None:
    scenario = Scenario(returns="after_invoiced").play("Out 6000; return 2000 as r1")

    assert scenario.commands == "settle 6000"
    scenario.shows("R 2000, refunds_wait 2000")
    assert scenario.invoice("r1")["status"] == "refund_waiting"
    scenario.play("Out 4000")
    assert scenario.commands in ("settle 6000, refund 2000, settle 4000", "settle 6000, settle 4000, refund 2000")
    scenario.shows("F 2000, finished")


def test_r20_a_stored_return_is_refunded_when_a_change_makes_the_order_invoiced() -> None:
    Scenario(returns="after_invoiced").play("Out 6000; return 2000; discount 4000").shows("F 2000, C 4000, finished")


def test_r20_a_return_after_the_order_is_invoiced_is_refunded_at_once() -> None:
    Scenario(returns="after_invoiced").play("Out 10000; return 2000").shows("F 2000, finished")


def test_r20_the_strict_switch_does_not_delay_the_refund_of_a_change() -> None:
    Scenario(returns="after_invoiced").play("auto 10000; discount 1500").shows("F 1500")


def test_r20_the_switch_counts_as_it_was_when_the_return_was_applied() -> None:
    scenario = Scenario(returns="after_invoiced").play("Out 6000; return 2000")
    scenario.switches["returns"] = "at_once"

    assert scenario.play("return 1000").commands == "settle 6000, refund 1000"


# R21


def test_r21_the_payment_with_the_lowest_settled_amount_is_refunded_first() -> None:
    scenario = Scenario(pay("a", 7000), pay("b", 3000)).play("Out 10000; return 4000")

    assert (scenario.commands_of("b"), scenario.commands_of("a")) == (
        "settle 3000, refund 3000",
        "settle 7000, refund 1000",
    )


def test_r21_the_settled_amount_decides_and_not_what_is_left_of_it() -> None:
    """a settled 2500 and has all left; b settled 3000 and has 2000 left: a is refunded first."""
    scenario = Scenario(pay("a", 7000), pay("b", 3000)).play("Out 1000; return 1000; Out 4500; return 1500")

    assert scenario.commands_of("a") == "settle 2500, refund 1500"
    assert scenario.commands_of("b") == "settle 1000, refund 1000, settle 2000"


def test_r21_ties_go_in_payment_order() -> None:
    scenario = Scenario(pay("a", 5000), pay("b", 5000)).play("Out 10000; return 6000")

    assert [(one.payment_id, one.value) for one in scenario.issued if one.operation == "refund"] == [
        ("a", 5000), ("b", 1000),
    ]  # fmt: skip


def test_r21_the_switch_refunds_cards_first() -> None:
    scenario = Scenario(
        pay("gift", 2000, group="giftCard"),
        pay("debit", 5000, group="debitCard"),
        pay("credit", 3000, group="creditCard"),
        refund_order="card_first",
    )  # fmt: skip
    scenario.play("Out 10000; return 9000")

    assert [(one.payment_id, one.value) for one in scenario.issued if one.operation == "refund"] == [
        ("credit", 3000), ("debit", 5000), ("gift", 1000),
    ]  # fmt: skip


def test_r21_the_switch_counts_when_the_refund_is_decided() -> None:
    scenario = Scenario(pay("gift", 2000, group="giftCard"), pay("credit", 3000, group="creditCard")).play(
        "Out 5000; return 100"
    )
    scenario.switches["refund_order"] = "card_first"

    scenario.play("return 200")
    assert [one.payment_id for one in scenario.issued if one.operation == "refund"] == ["gift", "credit"]


def test_r21_within_a_payment_the_oldest_settlement_is_refunded_first_with_one_command_each() -> None:
    scenario = Scenario().play("Out 3000; auto 2000; Out 4000; return 4500")

    refunds = [(one.settle_id, one.value) for one in scenario.issued if one.operation == "refund"]
    assert refunds == [("settle-1", 3000), ("g1", 1500)]


def test_r21_the_parts_sum_exactly() -> None:
    scenario = Scenario(pay("a", 3333), pay("b", 3333), pay("c", 3334)).play("Out 1; Out 4999; Out 5000; return 7777")

    assert sum(one.value for one in scenario.issued if one.operation == "refund") == 7777


def test_r21_the_confirmed_amount_is_refunded_at_once_and_only_the_rest_waits() -> None:
    scenario = Scenario().play("Out 4000; hold; Out 6000; return 5000").shows("G 4000, refunds_wait 1000")

    scenario.play("go").shows("F 5000")
    assert [(one.settle_id, one.value) for one in scenario.issued if one.operation == "refund"] == [
        ("settle-1", 4000), ("settle-2", 1000),
    ]  # fmt: skip


def test_r21_a_return_that_is_too_small_to_be_sent_alone_does_not_make_a_later_one_wait() -> None:
    """100 are worth 40 of a: a return of 1 is worth 0.4, one of 2 is worth 0.8. The settle of b is in flight."""
    scenario = Scenario(pay("a", 40, reference=100), pay("b", 60))

    scenario.play("hold; Out 160; ok settle 40; return 1; return 2")

    assert scenario.commands == "settle 40, settle 60, refund 1"


def test_r21_a_refund_that_waited_names_its_rule_also_when_the_gateway_captured_the_money() -> None:
    scenario = Scenario(pay("p1", 10000, in_hours=1)).play("wait 2h; Out 10000; return 4000; auto 10000")

    assert scenario.commands == "refund 4000"
    assert scenario.event("refund.requested").rule == "R21"


def test_r21_waiting_refunds_are_allocated_oldest_first() -> None:
    scenario = Scenario().play("hold; Out 6000; return 4000 as r1; return 2000 as r2; short 5000 settle 6000")

    refunds = [(one.cause_id, one.value) for one in scenario.issued if one.operation == "refund"]
    assert refunds == [("r1", 4000), ("r2", 1000)]


def test_r21_the_amount_of_a_declined_refund_is_kept_for_its_retry() -> None:
    scenario = Scenario().script("refund", "declined").play("Out 6000; return 4000; Out 4000; return 6000")

    refunds = [(one.settle_id, one.value) for one in scenario.issued if one.operation == "refund"]
    assert refunds == [("settle-1", 4000), ("settle-1", 2000), ("settle-2", 4000)]
    scenario.play("retry refund 4000 #1")
    assert scenario.issued[-1].retry_of == scenario.issued[1].command_id
    assert scenario.issued[-1].settle_id == "settle-1"
    scenario.shows("F 10000, R 10000, finished")


def test_r21_a_return_does_not_take_the_amount_kept_for_a_declined_refund() -> None:
    """Of the 10000, 2000 are kept for the retry of the declined refund, so returns of 8000 still find 8000."""
    scenario = Scenario().script("refund", "declined").play("auto 10000; discount 2000; Out 8000; return 8000")

    scenario.shows("F 8000, refunds_wait 0").play("retry refund 2000").shows("F 10000")


@pytest.mark.parametrize("trouble", ["unknown", "suspect", "manual"])
def test_r21_a_frozen_payment_is_refunded_like_any_other(trouble: str) -> None:
    scenario = Scenario(pay("a", 7000), pay("b", 3000)).play("Out 5000; hold; discount 500")
    scenario.play(f"{trouble} cancel 500 on a; return 2500")

    assert scenario.commands_of("a").endswith("refund 2000")
    assert scenario.commands_of("b").endswith("refund 500")


def test_r18_returns_never_exceed_the_invoices_also_after_a_capture_of_an_abandoned_amount() -> None:
    scenario = Scenario(pay("p1", 2700)).play(
        "hold; Out 2200; return 1000; declined settle 2200; abandon settle 2200; go"
    )
    scenario.shows("R 1000, refunds_wait 0").play("auto 2700; Out 500; return 1701").shows("R 1000, F 0")
    assert scenario.refused == ["rejected R18"]

    scenario.play("return 1700").shows("R 2700, O 2700, F 1700")
