"""R39: decisions of operators about commands and amounts in every state, each of which acts once."""

import pytest

from tests.unit.domain.scenario import Scenario, pay
from worker.domain.kept import decode_order, encode

STATES = {
    "sent": "hold; Out 6000",
    "succeeded": "Out 6000",
    "declined": "hold; Out 6000; declined settle 6000; go",
    "short": "hold; Out 6000; short 4500 settle 6000; go",
    "manual": "hold; Out 6000; manual settle 6000; go",
    "suspect": "hold; Out 6000; suspect settle 6000",
    "unknown": "hold; Out 6000; unknown settle 6000",
}


def in_state(state: str) -> Scenario:
    return Scenario().play(STATES[state])


# retry


@pytest.mark.parametrize(("state", "again"), [("declined", 6000), ("short", 1500)])
def test_r39_a_retry_of_a_declined_or_short_command_is_a_new_command(state: str, again: int) -> None:
    scenario = in_state(state).play("hold; retry settle 6000")

    old, new = scenario.issued
    assert new.value == again
    assert (new.command_id, new.request_id) != (old.command_id, old.request_id)
    assert (new.cause_kind, new.cause_id, new.retry_of) == (old.cause_kind, old.cause_id, old.command_id)
    assert scenario.event("command.retried").rule == "R39"
    scenario.play("go").shows("S 6000, lacks 0")
    assert scenario.state["status"] == "open"


@pytest.mark.parametrize("state", ["unknown", "suspect"])
def test_r39_a_retry_of_an_unknown_or_suspect_command_repeats_the_same_request(state: str) -> None:
    scenario = in_state(state).play("retry settle 6000")

    assert scenario.commands == "settle 6000"
    assert scenario.event("command.retried").rule == "R39"
    assert scenario.state["status"] == "open"
    scenario.play("ok settle 6000").shows("S 6000")


@pytest.mark.parametrize("state", ["sent", "succeeded", "manual"])
def test_r39_a_sent_succeeded_or_manual_command_cannot_be_retried(state: str) -> None:
    scenario = in_state(state)
    before = scenario.amounts()

    scenario.operator("retried", scenario.issued[0])

    assert scenario.commands == "settle 6000"
    assert scenario.amounts() == before


def test_r39_a_command_whose_success_only_the_books_doubt_is_not_sent_again() -> None:
    scenario = Scenario().play("hold; Out 6000; Out 4000; ok settle 6000 as s1; ok settle 4000 as s1")
    assert scenario.attention == [("suspect", 4000)]

    scenario.play("retry settle 4000")

    assert scenario.attention == [("suspect", 4000)]
    assert scenario.event("command.retried").reason.endswith("there is nothing to ask again (R39)")


@pytest.mark.parametrize("state", ["declined", "short", "unknown", "suspect"])
def test_r39_a_repeated_retry_acts_once(state: str) -> None:
    scenario = in_state(state).play("hold; retry settle 6000")
    commands = scenario.commands

    assert scenario.give(scenario.last).fate == "duplicate"
    scenario.operator("retried", scenario.issued[0])
    assert scenario.commands == commands


def test_r39_a_retry_can_fail_and_be_retried() -> None:
    scenario = Scenario().script("settle", "declined", "declined", "ok").play("Out 6000; retry settle 6000")

    scenario.shows("S 0, lacks 6000, attention").play("retry settle 6000 #2").shows("S 6000, lacks 0")
    assert len({one.request_id for one in scenario.issued}) == 3
    assert scenario.issued[2].retry_of == scenario.issued[1].command_id


def test_r39_a_retry_requests_at_most_what_the_order_lacks() -> None:
    scenario = Scenario().script("settle", "declined").play("Out 6000; auto 4000; retry settle 6000")

    assert scenario.commands == "settle 6000, settle 2000"
    scenario.shows("S 6000, lacks 0")


def test_r39_a_retry_requests_at_most_the_payments_room_and_the_rest_stays_failed() -> None:
    scenario = Scenario().script("settle", "declined").play("increase 2000; Out 6000; Out 6000; retry settle 6000 #1")

    assert scenario.commands == "settle 6000, settle 6000, settle 4000"
    scenario.shows("S 10000, lacks 2000, attention")
    assert scenario.attention == [("failed", 2000)]


def test_r39_a_retry_takes_nothing_of_what_another_settle_of_the_payment_is_missing() -> None:
    """The second settle turns out to be the 4000 that the gateway reported, so the first is missing them again."""
    scenario = Scenario(by="total").play("hold; Out 5000; declined settle 10000; auto 4000 as g1; retry settle 10000")
    scenario.play("short 4000 settle 6000 as g1")
    assert scenario.attention == [("failed", 4000), ("short", 2000)]

    scenario.play("retry settle 10000; go").shows("S 8000")

    assert scenario.attention == [("short", 2000)]


def test_r39_a_retry_without_room_requests_nothing() -> None:
    scenario = (
        Scenario(pay("p1", 10000, in_hours=48))
        .script("settle", "declined")
        .play("Out 6000; wait 49h; retry settle 6000")
    )

    assert scenario.commands == "settle 6000"
    scenario.shows("lacks 6000, attention")


@pytest.mark.parametrize("by", ["total", "hold"])
def test_r39_in_total_and_hold_a_retry_requests_what_the_order_has_not_taken(by: str) -> None:
    scenario = Scenario(by=by).script("settle", "declined").play("Out 10000; retry settle 10000")

    assert scenario.commands == "settle 10000, settle 10000"
    scenario.shows("S 10000, finished")


def test_r39_a_refund_is_retried_from_its_settlement_for_at_most_what_is_refundable() -> None:
    scenario = Scenario().script("refund", "declined").play("Out 6000; return 4000; retry refund 4000")

    assert scenario.commands == "settle 6000, refund 4000, refund 4000"
    scenario.shows("F 4000").play("retry refund 4000 #1")
    assert scenario.commands == "settle 6000, refund 4000, refund 4000"


def test_r39_a_void_is_retried_for_at_most_what_is_open() -> None:
    scenario = (
        Scenario().script("cancel", "declined").play("discount 1500; retry cancel 1500").shows("C 1500, open 8500")
    )
    assert scenario.commands == "cancel 1500, cancel 1500"

    scenario = Scenario().script("cancel", "declined", "ok").play("discount 1500; Out 8500; retry cancel 1500 #1")
    assert scenario.commands == "cancel 1500, settle 8500, cancel 1500"
    scenario.shows("C 1500, finished")
    assert scenario.state["status"] == "finished"


def test_r39_a_retried_void_never_takes_what_a_settle_took() -> None:
    scenario = Scenario().script("cancel", "declined").play("discount 1500; increase 1500; Out 9500; retry cancel 1500")

    assert scenario.commands == "cancel 1500, settle 9500, cancel 500"
    scenario.shows("S 9500, C 500, open 0")


# resolve


@pytest.mark.parametrize("state", ["manual", "suspect", "unknown"])
def test_r39_an_open_command_can_be_resolved_as_done(state: str) -> None:
    scenario = in_state(state).play("resolve 6000 settle 6000 as acq-1").shows("S 6000, P 0, lacks 0")

    assert scenario.event("command.resolved").rule == "R39"
    assert scenario.payment().settlements[0].settle_id == "acq-1"
    assert scenario.state["status"] == "open"


@pytest.mark.parametrize("state", ["manual", "suspect", "unknown"])
def test_r39_an_open_command_resolved_as_not_done_counts_as_declined(state: str) -> None:
    scenario = in_state(state).play("resolve not settle 6000; go").shows("S 0, P 0, open 10000, lacks 6000, attention")

    assert "settlement.failed" in scenario.event_types
    scenario.play("retry settle 6000").shows("S 6000")
    assert len({one.request_id for one in scenario.issued}) == 2


def test_r39_several_refunds_and_voids_may_be_resolved_under_one_operation_id() -> None:
    scenario = Scenario().script("refund", "manual", "manual").script("cancel", "manual")
    scenario.play("Out 6000; discount 1500; return 1000; return 2000")
    scenario.play("resolve 1000 refund 1000 as hand; resolve 2000 refund 2000 as hand")

    scenario.play("resolve 1500 cancel 1500 as hand").shows("F 3000, G 0, C 1500, D 0")
    assert "command.suspect" not in scenario.event_types


def test_r39_each_command_records_whether_an_operator_closed_it() -> None:
    scenario = Scenario().play("hold; Out 6000; Out 4000; manual settle 6000; unknown settle 4000")
    scenario.play("resolve 6000 settle 6000 as hand; retry settle 4000; ok settle 4000")

    assert [(one.state, one.by_hand) for one in scenario.order.commands.values()] == [
        ("succeeded", True),
        ("succeeded", False),
    ]


def test_r39_two_settles_cannot_be_resolved_under_one_settle_id() -> None:
    scenario = (
        Scenario().script("settle", "manual", "manual").play("Out 6000; Out 4000; resolve 6000 settle 6000 as hand")
    )

    scenario.play("resolve 4000 settle 4000 as hand").shows("S 6000, P 4000, attention")
    assert scenario.event("command.suspect").reason == "Settle id hand is another settlement's (R32)"


@pytest.mark.parametrize("state", ["manual", "suspect", "unknown"])
def test_r39_a_settle_resolved_for_less_is_short(state: str) -> None:
    in_state(state).play("resolve 4500 settle 6000; go").shows("S 4500, P 0, lacks 1500, attention")


@pytest.mark.parametrize(
    ("value", "play", "words"),
    [(10000, "cancel", "cancel 10000"), (8000, "Out 8000", "cancel 2000")],
    ids=["of a cancellation", "of the void that finishes"],
)
def test_r39_the_rest_of_a_void_resolved_for_less_is_requested_only_by_a_retry(
    value: int, play: str, words: str
) -> None:
    scenario = Scenario(pay("p1", 10000), value=value).script("cancel", "manual").play(f"{play}; resolve 1500 {words}")
    short = scenario.find(words).value - 1500
    assert scenario.commands.endswith(words)
    assert scenario.attention == [("short", short)]

    scenario.play(f"retry {words}").shows("open 0")
    assert scenario.commands.endswith(f"{words}, cancel {short}")
    assert scenario.state["status"] == scenario.order.phase


def test_r39_voids_booked_before_a_cancel_resolved_for_less_stay_voided() -> None:
    scenario = Scenario(by="total").script("cancel", "manual").play("discount 2000; cancel; resolve 6000 cancel 10000")

    scenario.shows("C 6000, open 4000, attention").play("retry cancel 10000").shows("C 10000, open 0, canceled")
    assert scenario.commands == "cancel 10000, cancel 4000"


def test_r39_a_settle_may_be_resolved_for_more_up_to_the_cap_and_the_excess_joins_the_pool() -> None:
    scenario = in_state("manual").play("resolve 7000 settle 6000").shows("S 7000, K 7000, U 1000")

    scenario.play("Out 4000")
    assert scenario.commands == "settle 6000, settle 3000"
    scenario.shows("S 10000, finished")


def test_r39_the_excess_of_a_resolution_covers_a_failure_of_the_same_payment_first() -> None:
    """The payment has no room left to retry its own failure; the other one has."""
    scenario = Scenario(pay("a", 1000), pay("b", 3000))
    scenario.play("hold; Out 2000; Out 2000; declined settle 1000 on a; declined settle 1000 on b; manual settle 2000")

    scenario.play("resolve 3000 settle 2000; go; retry settle 1000 on a").shows("S 4000, lacks 0, finished")


def test_r39_a_resolution_above_the_cap_is_refused() -> None:
    scenario = in_state("manual")
    before = scenario.amounts()

    decision = scenario.operator("resolved", scenario.issued[0], value=10001, operation_id="x")

    assert decision.fate == "refused"
    assert scenario.amounts() == before


def test_r39_a_resolution_above_the_order_value_refunds_the_surplus() -> None:
    scenario = Scenario(pay("p1", 10000), value=8000).play(
        "hold; Out 6000; manual settle 6000; go; resolve 10000 settle 6000"
    )

    assert scenario.commands == "settle 6000, refund 2000"
    scenario.shows("S 10000, F 2000, K 8000")


@pytest.mark.parametrize("state", ["succeeded", "declined", "short"])
def test_r39_an_ended_command_cannot_be_resolved_differently(state: str) -> None:
    scenario = in_state(state)
    before = scenario.amounts()

    decision = scenario.operator("resolved", scenario.issued[0], value=100, operation_id="x")

    assert decision.fate == "refused"
    assert scenario.amounts() == before


@pytest.mark.parametrize("value", [0, 6000])
def test_r39_a_repeated_resolution_acts_once(value: int) -> None:
    scenario = in_state("unknown")
    scenario.operator("resolved", scenario.issued[0], value=value, operation_id="x" if value else None)
    before = scenario.amounts()

    assert scenario.give(scenario.last).fate == "duplicate"
    assert scenario.amounts() == before


@pytest.mark.parametrize(("play", "words"), [("return 500", "refund 500"), ("discount 500", "cancel 500")])
@pytest.mark.parametrize("trouble", ["manual", "suspect", "unknown"])
def test_r39_refunds_and_voids_can_be_resolved_too(play: str, words: str, trouble: str) -> None:
    done = Scenario().play("Out 6000; hold").play(play).play(f"{trouble} {words}; resolve 500 {words}")
    undone = Scenario().play("Out 6000; hold").play(play).play(f"{trouble} {words}; resolve not {words}")

    done.shows("G 0, D 0")
    assert done.total("refunded") + done.total("voided") == 500
    undone.shows("G 0, D 0, F 0, C 0, attention")


# abandon


def test_r39_an_abandoned_failure_lets_the_order_finish() -> None:
    scenario = in_state("declined").play("abandon settle 6000")

    assert scenario.state["status"] == "open"
    assert scenario.event("command.abandoned").rule == "R39"
    scenario.play("Out 4000").shows("S 4000, C 6000, lacks 6000, finished")


def test_r39_an_abandoned_shortfall_lets_the_order_finish() -> None:
    in_state("short").play("abandon settle 6000; Out 4000").shows("S 8500, C 1500, finished")


def test_r39_an_abandoned_command_cannot_be_retried() -> None:
    scenario = in_state("declined").play("abandon settle 6000")

    scenario.operator("retried", scenario.issued[0])

    assert scenario.commands == "settle 6000"


@pytest.mark.parametrize("state", ["sent", "succeeded", "manual", "suspect", "unknown"])
def test_r39_a_command_that_has_not_failed_cannot_be_abandoned(state: str) -> None:
    scenario = in_state(state)
    before = scenario.amounts()

    scenario.operator("abandoned", scenario.issued[0])

    assert scenario.amounts() == before
    assert scenario.lacks("abandoned") == 0


def test_r39_an_abandonment_reports_the_real_value_like_the_failure() -> None:
    scenario = Scenario(pay("p1", 10_800, reference=10_000)).script("refund", "declined")

    scenario.play("Out 10000; return 1000; abandon refund 1080")

    failed, abandoned = scenario.event("refund.failed"), scenario.event("command.abandoned")
    assert failed.numbers["value"] == abandoned.numbers["value"] == 1080
    assert "10.80 given up" in abandoned.reason


def test_r39_abandoning_a_total_reports_how_much_of_it_is_not_invoiced_yet() -> None:
    scenario = Scenario(by="total").play("hold; Out 2000; declined settle 10000; go; abandon settle 10000")

    assert "100.00 given up, and with it 80.00 of later invoices" in scenario.event("command.abandoned").reason


def test_r39_abandoning_a_total_reports_a_single_cent_that_is_not_invoiced_yet() -> None:
    scenario = Scenario(by="total").play("hold; Out 9999; declined settle 10000; go; abandon settle 10000")

    assert "100.00 given up, and with it 0.01 of later invoices" in scenario.event("command.abandoned").reason


def test_r39_a_repeated_abandonment_acts_once() -> None:
    scenario = in_state("declined").play("abandon settle 6000")

    assert scenario.give(scenario.last).fate == "duplicate"
    assert scenario.event_types.count("command.abandoned") == 1


def test_r39_an_abandonment_drops_waiting_refunds_above_what_is_left() -> None:
    scenario = (
        Scenario()
        .play("Out 2000; hold; Out 6000; return 3000; declined settle 6000; go")
        .shows("F 2000, refunds_wait 1000")
    )

    scenario.play("abandon settle 6000").shows("F 2000, refunds_wait 0")


def test_r39_an_abandonment_keeps_a_waiting_refund_that_is_still_covered() -> None:
    scenario = Scenario().play("hold; Out 2000; Out 6000; return 1500; declined settle 6000").shows("refunds_wait 1500")

    scenario.play("abandon settle 6000; go").shows("S 2000, F 1500, refunds_wait 0")


def test_r39_an_abandoned_refund_lets_the_order_finish() -> None:
    scenario = (
        Scenario().script("refund", "declined").play("Out 6000; return 1000; Out 4000").shows("invoiced, attention")
    )

    scenario.play("abandon refund 1000").shows("F 0, finished")
    assert scenario.state["status"] == "finished"


def test_r39_a_lapsed_amount_is_abandoned_by_order_and_invoice() -> None:
    scenario = Scenario(pay("p1", 10000, in_hours=48)).play(
        "Out 4000; wait 49h; Out 3000 as x; Out 3000 as y; abandon invoice x"
    )

    assert scenario.attention == [("lapsed", 3000)]
    scenario.shows("invoiced").play("abandon invoice y").shows("finished, S 4000, lacks 6000")
    assert scenario.state["status"] == "finished"


def test_r39_an_abandoned_lapsed_amount_is_not_settled_by_a_new_payment() -> None:
    scenario = Scenario(pay("p1", 10000, in_hours=48)).play("wait 49h; Out 3000 as x; abandon invoice x; pay p2 10000")

    assert scenario.commands == ""
    scenario.shows("lacks 3000, waits 0")


def test_r39_an_abandoned_failure_is_not_settled_by_a_new_payment_or_with_the_next_invoice() -> None:
    scenario = in_state("declined").play("abandon settle 6000; pay p2 10000; Out 4000")

    assert scenario.commands_of("p1") == "settle 6000, settle 4000, cancel 6000"
    assert scenario.commands_of("p2") == "cancel 10000"


def test_r39_a_suspect_automatic_settlement_is_abandoned_by_order_and_settle_id() -> None:
    scenario = Scenario().play("Out 10000; auto 5 as g1").shows("attention")

    scenario.play("abandon auto g1")
    assert scenario.state["status"] == "finished"
    assert scenario.event("command.abandoned").rule == "R39"


def test_r39_abandoning_something_that_does_not_exist_changes_nothing() -> None:
    scenario = Scenario().play("Out 6000 as 1")
    before = scenario.amounts()

    scenario.play("abandon invoice 1; abandon invoice nope; abandon auto nope")

    assert scenario.amounts() == before
    assert scenario.state["status"] == "open"


@pytest.mark.parametrize("by", ["total", "hold"])
def test_r39_in_total_and_hold_an_abandoned_settle_lets_the_order_finish(by: str) -> None:
    scenario = Scenario(pay("a", 7000, by=by), pay("b", 3000, by=by)).script("settle", "declined").play("Out 10000")

    scenario.shows("S 7000, lacks 3000, invoiced").play("abandon settle 3000")
    assert scenario.commands == "settle 3000, settle 7000, cancel 3000"
    scenario.shows("S 7000, C 3000, finished")


@pytest.mark.parametrize("play", ["abandon settle 10000; Out 8000", "Out 8000; abandon settle 10000"])
def test_r39_an_abandoned_total_is_abandoned_for_later_invoices_too(play: str) -> None:
    scenario = Scenario(by="total").script("settle", "declined").play(f"Out 2000; {play}")

    assert scenario.commands == "settle 10000, cancel 10000"
    assert [scenario.invoice(number)["status"] for number in "12"] == ["settlement_failed", "settlement_failed"]
    scenario.shows("waits 0, finished")


def test_r35_an_abandoned_part_of_a_total_is_not_settled_by_another_payment() -> None:
    scenario = Scenario(pay("a", 3000, by="total"), pay("b", 7000, by="total")).script("settle", "declined")

    scenario.play("Out 2000; abandon settle 3000; increase 1000; Out 9000; pay c 4000 by total")

    assert scenario.commands_of("c") == "settle 1000"
    assert scenario.commands_of("a") == "settle 3000, cancel 3000"
    scenario.shows("S 8000, finished")


def test_r35_a_settle_that_takes_more_than_is_invoiced_does_not_reduce_the_abandoned_amount() -> None:
    """The 2000 of b cover all that is invoiced so far; of the 5000, still only 4000 are to be taken."""
    scenario = Scenario(pay("a", 1000, by="total"), value=5000).script("settle", "declined")
    scenario.play("Out 1000; abandon settle 1000; pay b 2000 by total; Out 1000; pay c 5000 by total; Out 3000")

    assert (scenario.commands_of("b"), scenario.commands_of("c")) == ("settle 2000", "settle 2000")
    scenario.shows("S 4000, lacks 1000, finished")


def test_r39_an_abandoned_lapsed_amount_is_not_part_of_a_later_total() -> None:
    scenario = Scenario(pay("p1", 10000, by="total", in_hours=48)).play("wait 48h; Out 2000; abandon invoice 1")

    scenario.play("pay c 10000 by total; Out 8000")

    assert scenario.commands == "settle 8000"
    assert [(one["done"], one["status"]) for one in scenario.state["invoices"]] == [
        (0, "settlement_failed"), (8000, "settled"),
    ]  # fmt: skip


def test_r39_lapsed_amounts_of_two_invoices_are_abandoned_separately() -> None:
    scenario = Scenario(pay("p1", 10000, by="total", in_hours=48)).play("wait 48h; Out 2000; Out 3000")

    scenario.play("abandon invoice 1; abandon invoice 2; pay c 10000 by total; Out 5000")

    assert scenario.commands == "settle 5000"
    scenario.shows("S 5000, finished")


def test_r39_a_later_capture_reduces_the_abandoned_amount() -> None:
    scenario = Scenario(by="total").script("settle", "declined").play("Out 2000; abandon settle 10000; auto 3000")

    scenario.play("Out 8000").shows("S 3000, finished")
    assert (scenario.order.given_up, scenario.lacks("abandoned")) == (7000, 7000)
    assert [one["done"] for one in scenario.state["invoices"]] == [2000, 1000]


def test_r39_an_amount_abandoned_by_a_version_that_did_not_count_it_is_not_requested_again() -> None:
    scenario = Scenario(by="total", checked=False).script("settle", "declined").play("Out 2000; abandon settle 10000")
    scenario.order.given_up = 0  # as an older version stored it
    scenario.order = decode_order(encode(scenario.order))

    scenario.play("auto 2000; Out 8000; pay c 12000 by total")

    scenario.shows("S 10000, K 10000")


def test_r39_a_stored_partial_order_is_read_without_an_abandoned_total() -> None:
    scenario = Scenario().script("settle", "declined").play("Out 6000; abandon settle 6000")

    assert decode_order(encode(scenario.order)) == scenario.order


def test_r39_a_discount_reduces_the_abandoned_amount() -> None:
    scenario = Scenario(by="total").script("settle", "declined").play("Out 2000; abandon settle 10000; discount 4000")

    assert scenario.order.given_up == 6000
    scenario.play("increase 1000; pay c 1000 by total; Out 5000")
    assert scenario.commands_of("c") == "settle 1000"


def test_r5_one_decision_abandons_the_void_of_a_change_and_the_finishing_void() -> None:
    scenario = Scenario().script("cancel", "declined", "declined").play("discount 1500; Out 8500")
    assert scenario.attention == [("failed", 1500)]

    scenario.play("abandon cancel 1500 #2")

    assert scenario.state["status"] == "finished"


def test_r39_a_decision_names_the_operator_and_the_reason() -> None:
    scenario = in_state("declined").play("abandon settle 6000")

    event = scenario.event("command.abandoned")
    assert event.numbers["by"] == "Ana"
    assert "seen at the acquirer" in event.reason


@pytest.mark.parametrize("payment", ["a", "b"])
@pytest.mark.parametrize("by", ["partial", "total", "hold"])
def test_r39_after_a_capture_covers_one_of_two_failures_the_other_can_be_abandoned(by: str, payment: str) -> None:
    """The remaining failure belongs to a command that can be retried or abandoned; else the order never finishes."""
    scenario = Scenario(pay("a", 7000, by=by), pay("b", 3000, by=by), pay("c", 5000, by=by), value=15000)
    scenario.script("settle", "declined", "ok", "declined").play("Out 15000")
    assert scenario.commands == "settle 3000, settle 5000, settle 7000"

    scenario.play(f"auto 3000 on {payment}").shows("lacks 7000, invoiced, attention")
    for command in [one for one in scenario.order.commands.values() if one.missing]:
        scenario.operator("abandoned", command)

    scenario.shows("lacks 7000, finished")
    assert scenario.state["status"] == "finished"


@pytest.mark.parametrize("by", ["total", "hold"])
def test_r39_after_a_capture_covers_the_first_of_two_failures_the_order_can_finish(by: str) -> None:
    scenario = Scenario(pay("a", 5000, by=by), pay("b", 5000, by=by), pay("c", 5000, by=by))
    scenario.play("hold; Out 15000; declined settle 5000 on b; declined settle 5000 on a; go; auto 5000 on a")

    for command in [one for one in scenario.order.commands.values() if one.missing]:
        scenario.operator("abandoned", command)

    scenario.shows("lacks 5000, finished")


def test_r39_after_one_of_two_failed_settles_is_abandoned_the_order_can_finish() -> None:
    """A later invoice lacks at most what the other settle failed to take; the rest was abandoned."""
    scenario = Scenario(pay("a", 2100, by="total"), pay("b", 2300, by="total"))
    scenario.play("hold; Out 3700; Out 400; declined settle 2300; declined settle 2100; go; abandon settle 2100")

    scenario.play("Out 200")
    assert (scenario.lacks("failed"), scenario.lacks("abandoned")) == (2300, 2000)

    scenario.play("retry settle 2300; Out 100").shows("S 2300, finished")
    assert scenario.state["status"] == "finished"


def test_r39_a_discount_leaves_the_failed_amount_on_a_command_that_can_be_retried() -> None:
    scenario = Scenario(pay("a", 2100, by="total"), pay("b", 2300, by="total")).script("settle", "declined", "declined")
    scenario.play("Out 2000; abandon settle 2100; discount 2400")
    assert scenario.attention == [("failed", 2000)]

    scenario.play("retry settle 2300").shows("S 2000, finished")
    assert scenario.state["status"] == "finished"


def test_r39_a_capture_of_one_payment_leaves_the_failure_of_another_to_be_retried_in_full() -> None:
    scenario = Scenario(pay("a", 7000, by="total"), pay("b", 3000, by="total"))
    scenario.play("hold; Out 4000; declined settle 3000; declined settle 7000; go; auto 2500 on a")
    assert scenario.attention == [("failed", 3000), ("failed", 4500)]

    scenario.play("retry settle 3000; retry settle 7000; Out 6000").shows("S 10000, finished")
    assert scenario.commands == "settle 3000, settle 7000, settle 3000, settle 4500"
