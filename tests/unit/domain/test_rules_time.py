"""R28: authorizations that expire."""

import pytest

from tests.unit.domain.scenario import START_MS, Scenario, added, out, pay
from worker.domain.decide import next_deadline_ms
from worker.domain.facts import TimePassed
from worker.domain.money import MAX_MINOR
from worker.domain.order import Order
from worker.domain.terms import HOUR_MS


def lapsing(hours: float = 48) -> Scenario:
    return Scenario(pay("p1", 10000, in_hours=hours))


def test_r28_expiring_is_raised_once_a_day_before() -> None:
    scenario = lapsing()
    assert next_deadline_ms(scenario.order, 24 * HOUR_MS) == START_MS + 24 * HOUR_MS

    scenario.play("wait 25h")
    assert scenario.event_types.count("authorization.expiring") == 1
    assert next_deadline_ms(scenario.order, 24 * HOUR_MS) == START_MS + 48 * HOUR_MS
    scenario.give(TimePassed(order_id="o1"))
    assert scenario.event_types.count("authorization.expiring") == 1


def test_r28_an_amount_that_is_open_again_within_the_lead_raises_expiring() -> None:
    scenario = Scenario(pay("p1", 10000, in_hours=48)).play("hold; Out 10000; wait 25h")
    assert "authorization.expiring" not in scenario.event_types

    scenario.play("declined settle 10000; wait 1h")

    assert scenario.event("authorization.expiring").numbers["open"] == 10000


def test_r28_the_lead_is_a_setting() -> None:
    scenario = Scenario(pay("p1", 10000, in_hours=48), expiry_lead_ms=HOUR_MS).play("wait 46h")

    assert "authorization.expiring" not in scenario.event_types
    scenario.play("wait 1.5h")
    assert "authorization.expiring" in scenario.event_types


def test_r28_the_open_part_lapses_at_the_expiry() -> None:
    scenario = lapsing().play("Out 4000; wait 49h").shows("S 4000, open 0")

    assert scenario.event_types.count("authorization.lapsed") == 1
    assert scenario.state["payments"][0]["lapsed"]
    assert next_deadline_ms(scenario.order, 24 * HOUR_MS) is None


def test_r28_time_without_a_deadline_changes_nothing() -> None:
    scenario = lapsing()
    before = scenario.amounts()

    assert scenario.give(TimePassed(order_id="o1")).fate in ("duplicate", "applied")
    assert scenario.amounts() == before
    assert scenario.event_types == ["order.opened"]


def test_r28_without_an_expiry_nothing_lapses() -> None:
    assert next_deadline_ms(Scenario().order, 24 * HOUR_MS) is None
    assert next_deadline_ms(Order(order_id="o1"), 24 * HOUR_MS) is None


def test_r28_settles_in_flight_are_not_affected_by_the_expiry() -> None:
    lapsing().play("hold; Out 6000; wait 49h; go").shows("S 6000, open 0")


def test_r28_an_amount_released_by_a_declined_settle_after_the_expiry_is_not_open() -> None:
    scenario = lapsing().play("hold; Out 6000; wait 49h; declined settle 6000; go").shows("S 0, open 0, lacks 6000")

    scenario.play("retry settle 6000")
    assert scenario.commands == "settle 6000"


def test_r28_an_invoice_after_the_expiry_fails_with_its_reason_until_a_new_payment_settles_it() -> None:
    scenario = lapsing().play("wait 49h; Out 6000 as 1").shows("O 6000, lacks 6000, attention")

    assert scenario.invoice("1")["status"] == "settlement_failed"
    assert "authorization_expired" in scenario.event("settlement.failed").numbers.values()
    assert 6000 in scenario.event("authorization.needed").numbers.values()
    assert scenario.attention == [("lapsed", 6000)]
    assert scenario.state["waiting"] == 0
    scenario.play("pay p2 10000").shows("S 6000, lacks 0")
    assert scenario.state["status"] == "open"
    assert scenario.invoice("1")["status"] == "settled"
    scenario.play("Out 4000 as 2").shows("S 10000, finished")


def test_r28_waiting_and_lapsed_amounts_are_settled_oldest_first() -> None:
    scenario = lapsing().play("increase 1000; Out 9000; wait 49h; Out 1500 as 2; Out 500 as 3; pay p2 1700")

    settled = [(one.cause_id, one.value) for one in scenario.issued if one.payment_id == "p2"]
    assert sum(value for invoice, value in settled if invoice == "2") == 1500
    assert settled[-1] == ("3", 200)


def test_r28_an_authorization_that_is_already_expired_lapses_as_it_is_applied() -> None:
    scenario = Scenario(pay("p1", 10000, in_hours=-1)).play("Out 6000")

    assert scenario.commands == ""
    assert (
        scenario.event_types[:2] == ["order.opened", "authorization.lapsed"]
        or "authorization.lapsed" in scenario.event_types[:3]
    )
    scenario.shows("open 0, lacks 6000, attention")


def test_r28_an_expiry_exactly_at_the_time_of_application_counts_as_expired() -> None:
    scenario = Scenario(pay("p1", 10000), opened=False)
    payment = pay("p1", 10000, in_hours=1)
    scenario.now_ms = START_MS + HOUR_MS - 1
    from tests.unit.domain.scenario import order_authorized

    scenario.give(order_authorized(payment))

    assert "authorization.lapsed" in scenario.event_types


def test_r28_an_expired_authorization_lapses_before_parked_facts_are_applied() -> None:
    scenario = Scenario(opened=False)
    scenario.give(out("1", 6000))
    from tests.unit.domain.scenario import order_authorized

    scenario.give(order_authorized(pay("p1", 10000, in_hours=-1)))

    assert scenario.commands == ""
    scenario.shows("O 6000, lacks 6000")


def test_r28_a_later_payment_that_is_already_expired_settles_nothing() -> None:
    scenario = Scenario(pay("p1", 4000), value=10000).play("Out 6000")
    scenario.give(added(pay("p2", 6000, in_hours=-1)))

    scenario.shows("S 4000, lacks 2000, open 0")


def test_r28_room_of_any_size_lapses_with_a_number_that_a_message_can_have() -> None:
    """One cent stands for all of the order, without a limit: the room is worth more than 64 bits can count."""
    scenario = Scenario(pay("p1", 1, reference=MAX_MINOR, cap=MAX_MINOR, in_hours=0))

    assert scenario.event("authorization.lapsed").numbers == {"open": 1, "room": MAX_MINOR, "paymentId": "p1"}


@pytest.mark.parametrize(
    ("by", "play", "lapsed"),
    [
        ("partial", "Out 10000; wait 48h; Out 2000", 2000),
        ("partial", "wait 48h; Out 12000", 12000),
        ("total", "wait 48h; Out 12000", 12000),
        ("hold", "Out 10000; wait 48h; Out 2000", 12000),
    ],
)
def test_r28_the_room_above_what_was_authorized_lapses_too(by: str, play: str, lapsed: int) -> None:
    scenario = Scenario(pay("p1", 10000, cap=12000, by=by, in_hours=48)).play(f"increase 2000; {play}")

    assert sum(amount for code, amount in scenario.attention if code == "lapsed") == lapsed
    scenario.shows(f"waits 0, lacks {lapsed}, invoiced")


def test_r28_an_amount_above_the_payments_room_waits_and_does_not_lapse() -> None:
    scenario = Scenario(pay("p1", 10000, cap=12000, in_hours=48)).play(
        "increase 3000; Out 10000; wait 48h; Out 2000; Out 1000"
    )

    assert scenario.attention == [("lapsed", 2000)]
    scenario.shows("waits 1000, lacks 3000, invoiced")


def test_r28_nothing_lapses_of_a_payment_that_was_already_asked_for_everything() -> None:
    scenario = Scenario(pay("p1", 10000, by="total", in_hours=48)).script("settle", "declined")

    scenario.play("Out 2000; abandon settle 10000; wait 48h; increase 1000; Out 9000")

    assert (scenario.lacks("abandoned"), scenario.lacks("lapsed")) == (10000, 0)
    scenario.shows("waits 1000, invoiced")


def test_r28_only_the_payment_that_has_expired_lapses() -> None:
    scenario = Scenario(pay("a", 7000, in_hours=48), pay("b", 3000, in_hours=72)).play("wait 50h; Out 5000")

    assert scenario.commands == "settle 3000"
    scenario.shows("lacks 2000, attention")


def test_r28_a_discount_after_the_lapse_voids_nothing() -> None:
    scenario = lapsing().play("Out 4000; wait 49h; discount 6000")

    assert scenario.commands == "settle 4000"
    scenario.shows("V 4000, finished")


def test_r28_a_cancellation_after_the_lapse_voids_nothing() -> None:
    scenario = lapsing().play("wait 49h; cancel")

    assert scenario.commands == ""
    scenario.shows("canceled, C 0")


def test_r28_an_abandoned_lapsed_amount_lets_the_order_finish() -> None:
    scenario = lapsing().play("Out 4000; wait 49h; Out 6000 as late").shows("invoiced, attention")

    scenario.play("abandon invoice late").shows("finished")
    assert scenario.state["status"] == "finished"


def test_r28_total_and_hold_lapse_too() -> None:
    for by in ("total", "hold"):
        scenario = (
            Scenario(pay("p1", 10000, by=by, in_hours=48)).play("wait 49h; Out 10000").shows("lacks 10000, invoiced")
        )
        assert scenario.commands == ""
        scenario.play(f"pay p2 10000 by {by}").shows("S 10000, finished")


def test_r28_an_increase_after_the_lapse_names_all_missing_authorization() -> None:
    scenario = lapsing().play("Out 4000; wait 49h; increase 500")

    assert 6500 in scenario.event("authorization.needed").numbers.values()
