"""Known failures of systems of this kind, with a test for each."""

import pytest

from tests.unit.domain.scenario import Scenario, out, pay, ret, text
from worker.domain.money import to_major


def test_01_a_second_refund_or_void_of_an_equal_amount_is_not_dropped_as_already_done() -> None:
    refunds = Scenario().play("Out 10000; return 1000; return 1000")
    voids = Scenario().play("discount 1000; discount 1000")

    assert refunds.commands == "settle 10000, refund 1000, refund 1000"
    refunds.shows("F 2000, R 2000")
    assert voids.commands == "cancel 1000, cancel 1000"
    voids.shows("C 2000, V 8000")


def test_02_two_equal_settles_in_the_same_instant_do_not_collide() -> None:
    scenario = Scenario()

    scenario.now_ms -= 1
    scenario.give(out("1", 3000))
    scenario.now_ms -= 1
    scenario.give(out("2", 3000))

    assert scenario.commands == "settle 3000, settle 3000"
    assert len({one.request_id for one in scenario.issued}) == len({one.command_id for one in scenario.issued}) == 2
    scenario.shows("S 6000")


def test_03_concurrent_refunds_never_exceed_what_was_captured() -> None:
    scenario = Scenario().play("Out 6000; hold; return 4000; return 3000; return 2000; go")

    assert scenario.commands == "settle 6000, refund 4000, refund 2000"
    assert scenario.refused == ["rejected R18"]
    scenario.shows("S 6000, F 6000")


@pytest.mark.parametrize(
    ("play", "refused"),
    [("Out 9000; discount 2000", "rejected R14"), ("discount 2000; Out 9000", None)],
)
def test_04_invoice_and_change_within_milliseconds_keep_to_one_total(play: str, refused: str | None) -> None:
    scenario = Scenario().play("hold").play(play).play("go")

    assert scenario.refused == ([refused] if refused else [])
    assert scenario.total("settled") <= scenario.order.value


def test_05_invoice_return_invoice_is_possible() -> None:
    scenario = Scenario().play("Out 6000; return 6000; Out 4000")

    assert scenario.commands == "settle 6000, refund 6000, settle 4000"
    scenario.shows("O 10000, R 6000, S 10000, F 6000, finished")


def test_06_a_new_refund_is_sent_while_an_earlier_one_is_still_unanswered() -> None:
    scenario = Scenario().play("Out 10000; hold; return 1000; return 2500; go")

    assert scenario.commands == "settle 10000, refund 1000, refund 2500"
    scenario.shows("F 3500")


def test_07_a_return_refunds_its_value_whatever_its_lines() -> None:
    """Two lines of one SKU stop the refund elsewhere. Here the domain sees only the value, and no lines (R10)."""
    assert not [name for name in ret("r1", 1).__struct_fields__ if "item" in name]
    Scenario().play("Out 10000; return 2000").shows("F 2000")


def test_08_a_retry_after_partial_success_asks_only_for_what_is_missing() -> None:
    scenario = Scenario(pay("a", 7000), pay("b", 3000)).play(
        "hold; Out 10000; ok settle 3000; declined settle 7000; go; retry settle 7000"
    )

    assert scenario.commands == "settle 3000, settle 7000, settle 7000"
    assert scenario.issued[-1].payment_id == "a"
    scenario.shows("S 10000, finished")


def test_09_an_amount_below_one_minor_unit_sends_no_settle_and_finishes_no_order() -> None:
    """A part too small for one minor unit of the payment sends nothing (R26), and the order stays open."""
    scenario = Scenario(pay("p1", 1, reference=100)).play("Out 30")

    assert scenario.commands == ""
    scenario.shows("S 0, O 30, still open")


def test_10_three_payments_never_get_negative_parts() -> None:
    scenario = Scenario(pay("a", 3333), pay("b", 3333), pay("c", 3334)).play("Out 1; Out 3333; Out 6665; Out 1")

    assert all(one.value > 0 for one in scenario.issued)
    assert [payment.settled for payment in scenario.order.payments] == [3333, 3333, 3334]
    scenario.shows("S 10000, finished")


def test_11_interest_is_settled_and_the_order_finishes() -> None:
    Scenario(pay("p1", 10800, reference=10000)).play("Out 5000; Out 5000").shows("S 10800, K 10000, finished")


def test_12_a_void_or_refund_during_a_settle_does_not_disturb_it() -> None:
    void = Scenario().play("hold; Out 6000; discount 1500; go; Out 2500")
    refund = Scenario().play("hold; Out 6000; return 1000; go; Out 4000")

    void.shows("S 8500, C 1500, finished")
    refund.shows("S 10000, F 1000, finished")
    assert refund.commands == "settle 6000, refund 1000, settle 4000"


def test_13_nothing_is_settled_after_a_cancellation() -> None:
    scenario = Scenario().play("cancel; Out 1000; pay p2 5000; Out 2000")

    assert "settle" not in scenario.commands
    scenario.shows("S 0, C 15000, canceled")


def test_14_a_lost_reply_causes_no_second_effect_and_no_stuck_order() -> None:
    """At the horizon the outcome is unknown, and the amount stays reserved until an operator resolves it."""
    scenario = Scenario().play("hold; Out 6000; unknown settle 6000; Out 4000").shows("S 0, P 10000, attention")

    scenario.play("go").shows("S 0, P 10000")
    scenario.play("resolve 6000 settle 6000")

    assert scenario.commands == "settle 6000, settle 4000"
    scenario.shows("S 10000, finished")


def test_15_a_manual_settle_never_causes_a_refund() -> None:
    scenario = Scenario().play("hold; Out 6000; manual settle 6000; go")

    assert scenario.commands == "settle 6000"
    scenario.shows("S 0, P 6000, F 0, attention")


def test_16_a_refund_is_booked_only_when_the_connector_has_done_it() -> None:
    scenario = Scenario().play("Out 10000; hold; return 2500; unknown refund 2500")

    scenario.shows("F 0, G 2500, attention")
    assert scenario.invoice("r1")["status"] != "refunded"
    scenario.play("resolve not refund 2500").shows("F 0, G 0, attention")
    assert scenario.invoice("r1")["status"] == "refund_failed"


def test_17_a_retry_of_an_unknown_command_keeps_its_request_id() -> None:
    scenario = Scenario().play("hold; Out 6000; unknown settle 6000; retry settle 6000; ok settle 6000; go")

    assert scenario.commands == "settle 6000"
    scenario.shows("S 6000, P 0")


def test_18_a_retry_after_a_definite_refusal_has_a_new_request_id() -> None:
    scenario = Scenario().play("hold; Out 6000; declined settle 6000; retry settle 6000; go")

    assert len({one.request_id for one in scenario.issued}) == 2
    scenario.shows("S 6000")


@pytest.mark.parametrize(
    ("minor", "currency", "major"),
    [(30, "USD", "0.30"), (6797, "USD", "67.97"), (61400, "USD", "614.00"), (5, "JPY", "5"), (5, "KWD", "0.005"),
     (2**53 - 1, "BRL", "90071992547409.91"), (10, "USD", "0.10"), (1234, "TND", "1.234")],
)  # fmt: skip
def test_19_amounts_are_written_from_their_digits(minor: int, currency: str, major: str) -> None:
    assert to_major(minor, currency) == major


@pytest.mark.parametrize("number", ["NF 1/2", "ação-ü#%&?", "a" * 256, "1\t2", "'; drop table", "日本"])
def test_20_any_invoice_number_can_be_settled_and_returned(number: str) -> None:
    scenario = Scenario()

    scenario.give(out(number, 10000))
    scenario.give(ret(f"r{number}"[:256], 2500))

    assert scenario.commands == "settle 10000, refund 2500"
    assert scenario.invoice(number)["status"] == "settled"


def test_21_every_command_has_its_requested_and_its_confirmed_or_failed_event() -> None:
    """Otherwise requests and effects could diverge unseen."""
    scenario = Scenario(pay("a", 7000), pay("b", 3000))
    scenario.script("settle", "ok", "declined", "short 1000").script("refund", "declined")
    scenario.play("Out 5000; Out 2000; discount 1000; return 500")

    ends = {"settle": "settlement", "refund": "refund", "cancel": "void"}
    for command in scenario.issued:
        types = [event.type for event in scenario.events if event.numbers.get("commandId") == command.command_id]
        kind = ends[command.operation]
        assert types[0] == f"{kind}.requested", text(command)
        assert types[1] in (f"{kind}.confirmed", f"{kind}.failed"), text(command)
