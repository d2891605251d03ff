"""R25–R28: several payments, interest, money that the gateway took by itself, authorizations that expire."""

import pytest

from tests.unit.domain.world import START_MS, World, added, auto, out, pay, tracking
from worker.domain.decide import next_deadline_ms
from worker.domain.facts import TimePassed
from worker.domain.order import Order
from worker.domain.terms import HOUR_MS

INTEREST = pay("p1", 10800, reference=10000)

# R25


def test_r25_the_lowest_authorized_amount_is_settled_first() -> None:
    world = World(pay("a", 5000), pay("b", 2000), pay("c", 3000)).say("Out 4000; Out 4000")

    assert (world.told_of("b"), world.told_of("c"), world.told_of("a")) == (
        "settle 2000", "settle 2000, settle 1000", "settle 3000",
    )  # fmt: skip


def test_r25_ties_go_in_payment_order() -> None:
    world = World(pay("z", 5000), pay("a", 5000)).say("Out 6000")

    assert (world.told_of("z"), world.told_of("a")) == ("settle 5000", "settle 1000")


def test_r25_later_payments_come_last_and_among_them_the_lowest_first() -> None:
    world = World().say("increase 6000; pay l1 4000; pay l2 1000; pay l3 1000; Out 13500")

    assert [(one.payment_id, one.value) for one in world.issued] == [
        ("p1", 10000), ("l2", 1000), ("l3", 1000), ("l1", 1500),
    ]  # fmt: skip


def test_r25_voids_allocate_likewise() -> None:
    world = World(pay("a", 7000), pay("b", 3000)).say("discount 4000")

    assert (world.told_of("b"), world.told_of("a")) == ("cancel 3000", "cancel 1000")


def test_r25_open_parts_first_then_the_room_above_in_the_same_order() -> None:
    world = World(pay("a", 7000, cap=8000), pay("b", 3000, cap=3500)).say("increase 1200; Out 10100; Out 1100")

    assert world.told_of("b") == "settle 3100, settle 400"
    assert world.told_of("a") == "settle 7000, settle 700"


def test_r25_room_above_stays_below_the_cap_when_a_part_was_voided() -> None:
    """`Room` is M − S − P − C − D: a void uses it up like a settle."""
    world = World(pay("p1", 10000, cap=12000)).say("discount 1500; increase 5000; Out 13500")

    assert world.told == "cancel 1500, settle 10500"
    world.shows("waits 3000")


@pytest.mark.parametrize("trouble", ["unknown", "suspect"])
def test_r25_a_frozen_payment_gets_its_part_and_the_part_waits_in_its_line(trouble: str) -> None:
    world = World(pay("a", 7000), pay("b", 3000)).say(f"hold; Out 1000; {trouble} settle 1000; Out 3000; go")

    assert world.told_of("b") == "settle 1000, settle 2000"
    assert world.told_of("a") == "settle 1000"
    world.shows("S 1000, P 3000").say("resolve 1000 settle 1000 on b").shows("S 4000, P 0")


# R26


@pytest.mark.parametrize(
    ("value", "parts", "told"),
    [
        (10800, [3333, 3333, 3334], [3600, 3599, 3601]),
        (10800, [5000, 5000], [5400, 5400]),
        (9500, [3333, 6667], [3166, 6334]),
        (10001, [5000, 5000], [5000, 5001]),
        (10003, [5000, 5000], [5002, 5001]),
        (7, [5000, 4999, 1], [4, 3]),
    ],
)
def test_r26_a_command_takes_its_part_of_what_is_open_half_even_and_the_last_takes_all(
    value: int, parts: list[int], told: list[int]
) -> None:
    """10001 · ½ = 5000.5 goes to the even 5000, 10003 · ½ = 5001.5 to the even 5002."""
    world = World(pay("p1", value, reference=10000))
    for number, part in enumerate(parts):
        world.give(out(str(number), part))

    assert [one.value for one in world.issued] == told
    world.shows(f"S {value}, K 10000, finished")


def test_r26_voids_go_the_same_way() -> None:
    world = World(INTEREST).say("discount 1500; Out 8500")

    assert world.told == "cancel 1620, settle 9180"
    world.shows("V 8500, finished")


def test_r26_a_refund_goes_the_same_way_from_its_settlements_rest() -> None:
    world = World(INTEREST).say("Out 5000; return 2500; return 2500")

    assert world.told == "settle 5400, refund 2700, refund 2700"


def test_r26_the_last_refund_takes_all_that_is_left_of_its_settlement() -> None:
    world = World(INTEREST).say("Out 3333; Out 3333; Out 3334; return 9999; return 1")

    assert sum(one.value for one in world.issued if one.operation == "refund") == 10800
    world.shows("F 10800, R 10000")


def test_r26_above_the_authorized_amount_the_rate_is_the_payments_own_rounded_down() -> None:
    world = World(pay("p1", 10800, reference=10000, cap=12000)).say("increase 1000; Out 11000")

    assert world.told == "settle 11880"
    assert "authorization.needed" not in world.heard


def test_r26_room_counts_in_reference_value() -> None:
    """1200 above at 10800/10000 are worth 1111: an increase of 2000 needs 889 more."""
    world = World(pay("p1", 10800, reference=10000, cap=12000)).say("increase 2000")

    assert 889 in world.event("authorization.needed").numbers.values()


def test_r26_what_waits_for_an_authorization_does_not_melt_with_what_else_happens() -> None:
    """The last cent above 9000 is worth 1 and asks for nothing: it waits with the rest, and is asked with it (R16)."""
    world = World(pay("p1", 9000, reference=10000, cap=9500), value=12000).say("Out 12000").shows("waits 1445")
    for parcel in "abc":
        world.give(tracking("1", trackingNumber=parcel))

    world.shows("K 10555, waits 1445").say("pay p2 1445").shows("S 10944, K 12000, finished")
    assert world.told_of("p2") == "settle 1445"


def test_r26_an_automatic_settlement_counts_at_the_rate_of_what_is_open() -> None:
    World(INTEREST).say("auto 5400").shows("S 5400, K 5000")
    World(INTEREST).say("auto 10800").shows("S 10800, K 10000")
    World(INTEREST).say("auto 10800; Out 10000").shows("finished")


def test_r26_a_shortfall_counts_at_the_rate_of_what_was_asked() -> None:
    world = World(INTEREST).say("hold; Out 5000; short 2700 settle 5400; go").shows("S 2700, K 2500, lacks 2500")

    world.say("retry settle 5400")
    assert world.told == "settle 5400, settle 2700"
    world.shows("S 5400, K 5000, lacks 0")


def test_r26_the_snapshot_names_a_shortfall_in_real_value_where_there_is_a_payment() -> None:
    world = World(INTEREST).say("hold; Out 5000; short 2700 settle 5400; go")

    assert world.attention == [("short", 2700)]


def test_r26_a_part_of_nothing_sends_nothing_and_is_taken_with_the_next_command() -> None:
    world = World(pay("p1", 1, reference=100)).say("Out 30").shows("S 0, O 30")
    assert world.told == ""

    world.say("Out 30")
    assert world.told == "settle 1"
    world.say("Out 40")
    assert world.told == "settle 1"
    world.shows("S 1, O 100, finished")


def test_r26_a_part_of_nothing_goes_to_the_next_payment() -> None:
    world = World(pay("tiny", 1, reference=100), pay("p2", 1000)).say("Out 30")

    assert world.told == "settle 30"
    assert world.issued[0].payment_id == "p2"


@pytest.mark.parametrize("by", ["partial", "total", "hold"])
def test_r26_with_no_next_command_it_counts_as_taken(by: str) -> None:
    """Only 30 of the order's 30 are worth nothing of the payment's 1 (of 100): the order finishes without a settle."""
    world = World(pay("tiny", 1, reference=100, by=by), value=30).say("Out 30")

    assert "settle" not in world.told
    world.shows("S 0, K 30, lacks 0, finished")


def test_r26_refunds_of_nothing_send_nothing() -> None:
    world = World(pay("p1", 2, reference=100)).say("Out 100; return 1; return 49; return 50")

    assert all(one.value > 0 for one in world.issued)
    world.shows("F 2, R 100, finished")


def test_r26_a_discount_below_par() -> None:
    world = World(pay("p1", 9500, reference=10000)).say("discount 5000; Out 5000")

    assert world.told == "cancel 4750, settle 4750"
    world.shows("finished")


# R27


def test_r27_where_a_capture_turns_out_to_be_ours_the_sale_it_had_paid_is_settled_and_no_other() -> None:
    """Of sale 1 the gateway paid 4000, and 4000 were asked: they are the same. All of sale 2 is in flight (R4)."""
    world = World(pay("p1", 10000)).say("auto 4000 as g1; hold; Out 8000; Out 2000; ok settle 4000 as g1")

    assert [(one.value, one.cause_id) for one in world.issued] == [(4000, "1"), (2000, "2"), (4000, "1")]
    world.say("go").shows("S 10000, finished")


def test_r27_what_fits_the_open_part_is_settled_under_its_id() -> None:
    world = World().say("auto 4000 as g7").shows("S 4000, U 4000, K 4000")

    assert [(one.settle_id, one.automatic) for one in world.payment().settlements] == [("g7", True)]
    assert world.told == ""


def test_r27_an_invoice_uses_the_pool_first() -> None:
    world = World().say("auto 4000; Out 3000; Out 3000")

    assert world.told == "settle 2000"
    world.shows("S 6000, U 0").say("Out 4000").shows("finished")


@pytest.mark.parametrize("by", ["total", "hold"])
def test_r27_in_every_mode_the_pool_comes_first_and_the_payment_was_not_asked_by_it(by: str) -> None:
    world = World(by=by).say("auto 3000; Out 2000")
    assert world.told == ""

    world.say("Out 8000")
    assert world.told == "settle 7000"
    world.shows("S 10000, finished")


def test_r27_total_settles_what_is_left_with_the_first_invoice_that_the_pool_does_not_cover() -> None:
    world = World(by="total").say("auto 3000; Out 2000; Out 1500")

    assert world.told == "settle 7000"


def test_r27_what_does_not_fit_waits_for_the_commands_in_flight() -> None:
    world = World().say("hold; Out 6000; auto 10000").shows("S 0, P 6000, K 6000")

    assert "payment.auto_settled" not in world.heard
    world.say("ok settle 6000")
    assert "payment.suspect" in world.heard
    assert world.decisions[-1].judged == [("p1", "g1", True)]


def test_r27_and_is_judged_as_soon_as_it_can_be() -> None:
    world = World().say("hold; Out 6000; auto 10000; declined settle 6000")

    assert world.decisions[-1].judged == [("p1", "g1", False)]
    world.shows("S 10000, lacks 0, U 4000")


def test_r27_it_waits_only_for_its_own_payment() -> None:
    world = World(pay("a", 7000), pay("b", 3000)).say("hold; Out 2000; auto 7000 on a")

    world.shows("S 7000, P 2000")


def test_r27_a_manual_or_frozen_command_is_in_flight_too() -> None:
    for trouble in ("manual", "unknown", "suspect"):
        world = World().say(f"hold; Out 6000; {trouble} settle 6000; auto 10000").shows("S 0, P 6000")
        world.say("resolve not settle 6000").shows("S 10000, P 0, lacks 0")


def test_r27_it_undoes_voids_that_were_only_booked() -> None:
    world = World(by="total").say("discount 2000; auto 10000")

    assert world.told == "refund 2000"
    world.shows("S 10000, F 2000, K 8000, C 0").say("Out 8000").shows("finished")


def test_r27_only_undoes_what_was_never_sent() -> None:
    world = World().say("discount 2000; auto 10000")

    assert world.refused == ["suspect R27"]
    world.shows("S 0, C 2000, K 0, attention")


def test_r27_room_below_the_cap_is_enough_and_what_exceeds_the_order_is_refunded() -> None:
    world = World(pay("p1", 10000, cap=12000)).say("auto 11000 as g1")

    assert world.told == "refund 1000"
    assert (world.issued[0].cause_kind, world.issued[0].cause_id, world.issued[0].settle_id) == (
        "surplus",
        "g1",
        "g1",
    )
    world.shows("S 11000, F 1000, K 10000")


def test_r27_above_the_cap_nothing_is_booked_and_the_payment_is_not_frozen() -> None:
    world = World().say("auto 10001 as g1").shows("S 0, open 10000, attention")

    assert world.refused == ["suspect R27"]
    assert world.event("payment.suspect").rule == "R27"
    assert not world.state["payments"][0]["frozen"]
    assert world.attention == [("suspect", 10001)]
    world.say("Out 10000").shows("S 10000, invoiced, attention")
    world.say("abandon auto g1").shows("finished")
    assert world.state["status"] == "finished"


def test_r27_a_suspect_one_repeated_is_a_duplicate() -> None:
    world = World().say("auto 10001 as g1; again")

    assert world.fates["duplicate"] == 1
    assert world.heard.count("payment.suspect") == 1


def test_r27_a_suspect_one_repeated_after_a_person_gave_it_up_is_a_duplicate() -> None:
    """R8: a refused fact repeated stays refused. A redelivery must not raise the alarm again."""
    world = World().say("Out 10000; auto 1 as g1; abandon auto g1")
    world.give(auto(1, "p1", "g1"))

    assert world.fates["duplicate"] == 1
    assert world.state["status"] == "finished"


def test_r27_a_suspect_one_with_another_value_is_a_conflict_or_judged_as_new() -> None:
    world = World().say("auto 10001 as g1")

    assert world.give(auto(500, "p1", "g1")).fate in ("refused", "applied")


def test_r27_the_id_of_a_settle_of_ours_is_a_duplicate_after() -> None:
    world = World().say("hold; Out 3000; ok settle 3000 as X; go; auto 3000 as X")

    assert world.fates["duplicate"] == 1
    world.shows("S 3000, K 3000")


def test_r27_the_id_of_a_settle_of_ours_is_a_duplicate_before_while_it_waited() -> None:
    world = World().say("hold; Out 6000; auto 6000 as X; ok settle 6000 as X; go")

    world.shows("S 6000, P 0, open 4000, K 6000")
    assert "payment.suspect" not in world.heard


def test_r27_the_id_of_a_settle_of_ours_is_a_duplicate_before_when_it_was_booked() -> None:
    """R27 ("that command: a duplicate") goes before R32 ("an operation id used by an automatic settlement")."""
    world = World().say("hold; Out 3000; auto 3000 as X; ok settle 3000 as X; go").shows("S 3000, P 0, K 3000, lacks 0")

    assert len(world.payment().settlements) == 1
    world.say("Out 7000").shows("S 10000, finished")
    assert world.told == "settle 3000, settle 7000"


def test_r27_it_covers_what_accepted_invoices_lack_oldest_first() -> None:
    world = World().script("settle", "declined", "declined").say("Out 3000; Out 2000; auto 4000")

    world.shows("lacks 1000, U 0")
    assert [(one["invoiceNumber"], one["status"]) for one in world.state["invoices"]] == [
        ("1", "settled"), ("2", "settlement_failed"),
    ]  # fmt: skip
    assert world.attention == [("failed", 1000)]
    world.say("auto 2000").shows("lacks 0, U 1000")
    assert world.state["status"] == "open"


def test_r27_it_covers_what_waits_for_authorization() -> None:
    world = World(pay("p1", 10000, cap=12000)).say("discount 1500; increase 1500; Out 10000")

    world.shows("S 10000, finished")


def test_r27_a_surplus_over_the_orders_value_is_refunded_at_once() -> None:
    world = World(pay("p1", 10000), value=8000).say("auto 10000")

    assert world.told == "refund 2000"
    world.say("Out 8000").shows("K 8000, finished")


def test_r27_two_automatic_settlements_each_refund_their_own_surplus() -> None:
    world = World(pay("p1", 10000), value=6000).say("auto 5000 as g1; auto 5000 as g2")

    assert sum(one.value for one in world.issued) == 4000
    assert {one.cause_id for one in world.issued} == {"g2"}


def test_r27_on_a_lapsed_payment_what_fits_what_had_been_open_is_settled() -> None:
    world = World(pay("p1", 10000, in_hours=48)).say("Out 4000; wait 48h; auto 6000").shows("S 10000, K 10000")

    world.say("Out 6000").shows("finished")


# R28


def lapsing(hours: float = 48) -> World:
    return World(pay("p1", 10000, in_hours=hours))


def test_r28_expiring_is_raised_once_a_day_before() -> None:
    world = lapsing()
    assert next_deadline_ms(world.order, 24 * HOUR_MS) == START_MS + 24 * HOUR_MS

    world.say("wait 25h")
    assert world.heard.count("authorization.expiring") == 1
    assert next_deadline_ms(world.order, 24 * HOUR_MS) == START_MS + 48 * HOUR_MS
    world.give(TimePassed(order_id="o1"))
    assert world.heard.count("authorization.expiring") == 1


def test_r28_what_is_open_again_within_the_lead_is_warned_of_then() -> None:
    world = World(pay("p1", 10000, in_hours=48)).say("hold; Out 10000; wait 25h")
    assert "authorization.expiring" not in world.heard

    world.say("declined settle 10000; wait 1h")

    assert world.event("authorization.expiring").numbers["open"] == 10000


def test_r28_the_lead_is_a_setting() -> None:
    world = World(pay("p1", 10000, in_hours=48), expiry_lead_ms=HOUR_MS).say("wait 46h")

    assert "authorization.expiring" not in world.heard
    world.say("wait 1.5h")
    assert "authorization.expiring" in world.heard


def test_r28_at_its_time_the_open_part_lapses() -> None:
    world = lapsing().say("Out 4000; wait 49h").shows("S 4000, open 0")

    assert world.heard.count("authorization.lapsed") == 1
    assert world.state["payments"][0]["lapsed"]
    assert next_deadline_ms(world.order, 24 * HOUR_MS) is None


def test_r28_time_that_brings_nothing_changes_nothing() -> None:
    world = lapsing()
    before = world.numbers_now()

    assert world.give(TimePassed(order_id="o1")).fate in ("duplicate", "applied")
    assert world.numbers_now() == before
    assert world.heard == ["order.opened"]


def test_r28_without_an_expiry_nothing_lapses() -> None:
    assert next_deadline_ms(World().order, 24 * HOUR_MS) is None
    assert next_deadline_ms(Order(order_id="o1"), 24 * HOUR_MS) is None


def test_r28_settles_already_decided_are_untouched() -> None:
    lapsing().say("hold; Out 6000; wait 49h; go").shows("S 6000, open 0")


def test_r28_what_a_settle_releases_after_the_lapse_is_not_open() -> None:
    world = lapsing().say("hold; Out 6000; wait 49h; declined settle 6000; go").shows("S 0, open 0, lacks 6000")

    world.say("retry settle 6000")
    assert world.told == "settle 6000"


def test_r28_an_invoice_that_lacks_money_fails_with_its_reason_and_is_settled_by_a_new_payment() -> None:
    world = lapsing().say("wait 49h; Out 6000 as 1").shows("O 6000, lacks 6000, attention")

    assert world.invoice("1")["status"] == "settlement_failed"
    assert "authorization_expired" in world.event("settlement.failed").numbers.values()
    assert 6000 in world.event("authorization.needed").numbers.values()
    assert world.attention == [("lapsed", 6000)]
    assert world.state["waiting"] == 0
    world.say("pay p2 10000").shows("S 6000, lacks 0")
    assert world.state["status"] == "open"
    assert world.invoice("1")["status"] == "settled"
    world.say("Out 4000 as 2").shows("S 10000, finished")


def test_r28_what_waited_and_what_lapsed_are_settled_oldest_first() -> None:
    world = lapsing().say("increase 1000; Out 9000; wait 49h; Out 1500 as 2; Out 500 as 3; pay p2 1700")

    settled = [(one.cause_id, one.value) for one in world.issued if one.payment_id == "p2"]
    assert sum(value for invoice, value in settled if invoice == "2") == 1500
    assert settled[-1] == ("3", 200)


def test_r28_an_authorization_that_expired_before_it_is_applied_lapses_in_that_decision() -> None:
    world = World(pay("p1", 10000, in_hours=-1)).say("Out 6000")

    assert world.told == ""
    assert world.heard[:2] == ["order.opened", "authorization.lapsed"] or "authorization.lapsed" in world.heard[:3]
    world.shows("open 0, lacks 6000, attention")


def test_r28_its_expiry_at_exactly_the_time_of_application_counts_as_expired() -> None:
    world = World(pay("p1", 10000), opened=False)
    payment = pay("p1", 10000, in_hours=1)
    world.now_ms = START_MS + HOUR_MS - 1
    from tests.unit.domain.world import order_authorized

    world.give(order_authorized(payment))

    assert "authorization.lapsed" in world.heard


def test_r28_it_lapses_before_parked_facts_are_tried() -> None:
    world = World(opened=False)
    world.give(out("1", 6000))
    from tests.unit.domain.world import order_authorized

    world.give(order_authorized(pay("p1", 10000, in_hours=-1)))

    assert world.told == ""
    world.shows("O 6000, lacks 6000")


def test_r28_a_later_payment_that_is_already_expired_gives_nothing() -> None:
    world = World(pay("p1", 4000), value=10000).say("Out 6000")
    world.give(added(pay("p2", 6000, in_hours=-1)))

    world.shows("S 4000, lacks 2000, open 0")


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
    world = World(pay("p1", 10000, cap=12000, by=by, in_hours=48)).say(f"increase 2000; {play}")

    assert sum(amount for code, amount in world.attention if code == "lapsed") == lapsed
    world.shows(f"waits 0, lacks {lapsed}, invoiced")


def test_r28_what_no_room_had_been_there_for_waits_and_has_not_lapsed() -> None:
    world = World(pay("p1", 10000, cap=12000, in_hours=48)).say(
        "increase 3000; Out 10000; wait 48h; Out 2000; Out 1000"
    )

    assert world.attention == [("lapsed", 2000)]
    world.shows("waits 1000, lacks 3000, invoiced")


def test_r28_of_a_payment_that_was_asked_all_it_could_give_nothing_lapses() -> None:
    world = World(pay("p1", 10000, by="total", in_hours=48)).script("settle", "declined")

    world.say("Out 2000; abandon settle 10000; wait 48h; increase 1000; Out 9000")

    assert (world.lacks("abandoned"), world.lacks("lapsed")) == (10000, 0)
    world.shows("waits 1000, invoiced")


def test_r28_only_the_payment_whose_time_has_come_lapses() -> None:
    world = World(pay("a", 7000, in_hours=48), pay("b", 3000, in_hours=72)).say("wait 50h; Out 5000")

    assert world.told == "settle 3000"
    world.shows("lacks 2000, attention")


def test_r28_a_discount_after_the_lapse_voids_nothing() -> None:
    world = lapsing().say("Out 4000; wait 49h; discount 6000")

    assert world.told == "settle 4000"
    world.shows("V 4000, finished")


def test_r28_a_cancellation_after_the_lapse_voids_nothing() -> None:
    world = lapsing().say("wait 49h; cancel")

    assert world.told == ""
    world.shows("canceled, C 0")


def test_r28_an_abandoned_lapsed_amount_lets_the_order_finish() -> None:
    world = lapsing().say("Out 4000; wait 49h; Out 6000 as late").shows("invoiced, attention")

    world.say("abandon invoice late").shows("finished")
    assert world.state["status"] == "finished"


def test_r28_total_and_hold_lapse_too() -> None:
    for by in ("total", "hold"):
        world = World(pay("p1", 10000, by=by, in_hours=48)).say("wait 49h; Out 10000").shows("lacks 10000, invoiced")
        assert world.told == ""
        world.say(f"pay p2 10000 by {by}").shows("S 10000, finished")


def test_r28_an_increase_after_the_lapse_names_all_that_is_missing() -> None:
    world = lapsing().say("Out 4000; wait 49h; increase 500")

    assert 6500 in world.event("authorization.needed").numbers.values()


def test_r27_what_turns_out_to_be_the_same_capture_is_lacking_on_the_newest_sales_first() -> None:
    world = World().say("hold; Out 3000; auto 3000 as g1; Out 1; Out 2999; ok settle 3000 as g1; go")

    assert [(one.cause_id, one.value) for one in world.issued] == [("1", 3000), ("2", 1), ("3", 2999)]
    world.shows("S 6000, O 6000, lacks 0")


def test_r27_a_return_never_lacks_money() -> None:
    world = World(returns="after_invoiced")
    world.say("hold; Out 3000; auto 3000 as g1; Out 3000; return 500; ok settle 3000 as g1; go")

    assert [(one.cause_id, one.value) for one in world.issued] == [("1", 3000), ("2", 3000)]


def test_r35_where_one_settle_stands_for_all_invoices_its_failure_is_no_lack_of_a_return() -> None:
    world = World(by="total").say("hold; Out 3000; return 500; Out 2000; declined settle 10000")

    assert [(one.invoice, one.amount) for one in world.order.lacks] == [("1", 3000), ("2", 2000)]
