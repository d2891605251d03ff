"""The edges of the rules: the last cent, the second of two, a repeat with other content."""

import pytest
from msgspec.structs import replace

from tests.unit.domain.scenario import (
    ORDER,
    START_MS,
    Scenario,
    added,
    auto,
    change,
    order_authorized,
    pay,
    recipient,
    tracking,
)
from worker.domain.facts import ConnectorsNamed, OutcomeReported, TimePassed
from worker.domain.money import MAX_MINOR, divided, proportional, to_major
from worker.domain.objection import changed_since, objection
from worker.domain.terms import HOUR_MS


def test_r39_the_newest_of_two_waiting_returns_is_dropped_first_and_only_as_needed() -> None:
    scenario = Scenario().play("hold; Out 3000; Out 2999; return 2000; return 3000")
    scenario.play("declined settle 3000; abandon settle 3000").shows("refunds_wait 2999")

    dropped = [(one.cause_id, one.numbers["value"]) for one in scenario.events if one.type == "refund.failed"]
    assert dropped == [("r2", 2001)]
    assert [(one.cause_id, one.amount) for one in scenario.order.demands] == [("r1", 2000), ("r2", 999)]

    scenario.play("declined settle 2999; abandon settle 2999").shows("refunds_wait 0")
    assert scenario.order.dropped == 5000


def test_r32_a_success_with_the_operation_id_of_another_command_is_suspect_and_names_it() -> None:
    scenario = Scenario().play("hold; Out 6000; Out 4000; ok settle 6000 as X; ok settle 4000 as X")

    event = scenario.event("command.suspect")
    assert event.numbers == {"commandId": scenario.issued[1].command_id, "value": 4000}
    assert event.reason == "Operation id X is another command's (R32)"


def test_r32_a_refund_with_the_id_of_an_automatic_settlement_is_suspect_and_names_it() -> None:
    scenario = Scenario().play("auto 6000 as g1; Out 6000; hold; return 500; ok refund 500 as g1")

    assert scenario.event("command.suspect").reason == "Operation id g1 is an automatic settlement's (R32)"


@pytest.mark.parametrize("field", ["value", "reference_value"])
def test_r9_an_order_is_authorized_for_at_most_the_largest_amount_in_real_and_reference_value(field: str) -> None:
    most, scenario = 2**53 - 1 - 10000, Scenario()

    fates = [scenario.give(added(replace(pay("p2", 1), **{field: value}))).fate for value in (most + 1, most)]

    assert fates == ["refused", "applied"]
    assert scenario.refused == ["rejected R9"]


def test_r9_the_caps_of_an_order_sum_to_a_number_that_a_message_can_have() -> None:
    unlimited = [pay(f"p{number}", 1, cap=MAX_MINOR) for number in range(1, 1025)]
    scenario = Scenario(*unlimited, checked=False)

    fates = [scenario.give(added(pay("q", 1, cap=cap))).fate for cap in (1024, 1023)]

    assert fates == ["refused", "applied"]
    assert scenario.refused == ["rejected R9"]


def test_r22_a_capture_is_refunded_under_the_rule_of_cancellation() -> None:
    scenario = Scenario().play("auto 3000; cancel")

    assert scenario.commands == "cancel 7000, refund 3000"
    assert scenario.event("refund.requested").rule == "R22"


def test_r27_an_abandoned_capture_stays_refused_and_other_content_under_its_id_is_decided() -> None:
    scenario = Scenario(pay("a", 7000), pay("b", 3000)).play(
        "auto 9000 on a as g1; abandon auto g1; auto 9000 on a as g1"
    )
    assert scenario.fates["duplicate"] == 1

    scenario.give(auto(3000, "b", "g1"))
    scenario.give(auto(500, "a", "g1"))

    scenario.shows("S 3500")


def test_r3_when_no_recipient_has_a_share_left_the_first_takes_all() -> None:
    assert divided(5, [0, 0, 0]) == [5, 0, 0]
    assert divided(5, []) == []


def test_r26_a_part_of_zero_of_a_whole_of_zero_takes_the_whole_amount() -> None:
    """A rest that counts nothing for the order (its reference value is 0) goes along with the last command."""
    assert proportional(5, 0, 0) == 5


def test_r11_a_tracking_update_names_its_rule_and_its_repeat_is_a_duplicate() -> None:
    scenario = Scenario().play("Out 6000")

    fates = [scenario.give(tracking("1", **fields)).fate for fields in ({}, {}, {"courier": "c"}, {"courier": "c"})]

    assert fates == ["applied", "duplicate", "applied", "duplicate"]
    assert {one.rule for one in scenario.events if one.type == "tracking.updated"} == {"R11"}


@pytest.mark.parametrize(
    ("play", "action"),
    [("Out 6000", "abandoned"), ("hold; Out 6000", "abandoned"), ("hold; Out 6000; unknown settle 6000", "abandoned")],
)
def test_r39_abandoning_a_command_that_has_not_failed_is_reported_as_without_effect(play: str, action: str) -> None:
    scenario = Scenario().play(play)

    scenario.operator("abandoned", scenario.issued[0])

    assert scenario.event("command.abandoned").reason == (
        "Ana decided (seen at the acquirer): there is nothing to give up (R39)"
    )


def test_r39_a_refund_that_was_retried_with_success_cannot_be_retried_again() -> None:
    scenario = (
        Scenario().script("refund", "declined", "ok").play("Out 6000; return 1; retry refund 1; retry refund 1 #1")
    )

    assert scenario.commands == "settle 6000, refund 1, refund 1"
    scenario.shows("F 1")


def test_r39_a_refund_may_be_resolved_for_up_to_the_whole_settlement() -> None:
    scenario = Scenario().script("refund", "declined", "manual").play("Out 6000; return 1000; return 2000")

    scenario.operator("resolved", scenario.issued[2], value=6001)
    assert "above the 60.00 that can have been done" in scenario.refusals[-1].reason
    scenario.operator("resolved", scenario.issued[2], value=6000, operation_id="by hand")
    scenario.shows("F 6000")


_STATES = ("sent", "succeeded", "short", "declined", "manual", "suspect", "unknown")
_ALLOWED = {
    "retry": ("short", "declined", "suspect", "unknown"), "resolve": ("manual", "suspect", "unknown"),
    "abandon": ("short", "declined"),
}  # fmt: skip


@pytest.mark.parametrize("action", _ALLOWED)
def test_r39_the_state_of_a_command_determines_the_allowed_decisions(action: str) -> None:
    for state in _STATES:
        stored, done = ("succeeded", 5999) if state == "short" else (state, 6000)

        found = objection(action, stored, done, 6000)

        assert (found is None) == (state in _ALLOWED[action]), (action, state)
        assert found is None or found.startswith(f"the command is {stored}; only ")


@pytest.mark.parametrize(
    ("action", "why"),
    [("retry", "only declined, short, unknown and suspect ones are asked again"),
     ("resolve", "only manual, suspect and unknown ones are resolved"),
     ("abandon", "only a declined or short one is abandoned")],
)  # fmt: skip
def test_r39_an_objection_names_the_states_that_allow_the_decision(action: str, why: str) -> None:
    assert objection(action, "sent", 0, 6000) == f"the command is sent; {why}"


def test_r39_a_command_resolved_in_part_may_be_retried_or_abandoned() -> None:
    assert objection("retry", "resolved", 5999, 6000) is None
    assert objection("abandon", "resolved", 5999, 6000) is None
    assert objection("retry", "resolved", 6000, 6000) is not None
    assert objection("abandon", "resolved", 6000, 6000) is not None


@pytest.mark.parametrize("action", ["retry", "abandon"])
@pytest.mark.parametrize(("state", "done"), [("declined", 0), ("succeeded", 5999), ("resolved", 0)])
def test_r39_a_command_of_which_nothing_is_missing_cannot_be_retried_or_abandoned(
    action: str, state: str, done: int
) -> None:
    assert objection(action, state, done, 6000) is None
    assert objection(action, state, done, 6000, over=True) == (
        f"the command is {state}, and nothing of it is missing any more: it was asked anew, or stood in for"
    )


def test_r39_a_decision_about_a_command_that_has_changed_since_is_refused() -> None:
    assert changed_since(None, 2, "suspect") is None
    assert changed_since(2, 2, "suspect") is None
    for seen in (0, 1, 3):
        assert changed_since(seen, 2, "resolved") == (
            "the command has changed since it was looked at and is resolved now: look again, then decide"
        )


def test_r32_of_ended_commands_only_a_doubted_success_can_be_resolved() -> None:
    assert objection("resolve", "succeeded", 6000, 6000, doubted=True) is None
    assert objection("resolve", "resolved", 9999, 6000, doubted=True) is None
    assert objection("resolve", "resolved", 6000, 6000) is not None
    assert objection("resolve", "declined", 0, 6000, doubted=True) is not None
    assert objection("resolve", "succeeded", 6000, 6000) is not None


@pytest.mark.parametrize(
    ("play", "kind"),
    [
        ("hold; Out 6000", "settle 6000"),
        ("hold; discount 1500", "cancel 1500"),
        ("Out 6000; hold; return 1", "refund 1"),
    ],
)
def test_r35_a_decline_without_a_code_or_message_is_reported_as_declined(play: str, kind: str) -> None:
    scenario = Scenario().play(play)
    command = scenario.find(kind, lambda one: one.state == "sent")

    for _ in range(2):
        scenario.judge(OutcomeReported(order_id=ORDER, outcome="declined", command_id=command.command_id, at="now"))

    assert scenario.events[-1].reason.endswith("on payment p1 failed: declined (R35)")
    assert (scenario.events[-1].numbers["code"], scenario.fates["duplicate"]) == (None, 1)


def test_r35_a_decline_without_a_code_is_reported_with_its_message() -> None:
    scenario = Scenario().play("hold; Out 6000")
    command = scenario.issued[0]

    scenario.judge(
        OutcomeReported(order_id=ORDER, outcome="declined", command_id=command.command_id, message="no funds")
    )

    assert scenario.event("settlement.failed").reason == "The settle of 60.00 on payment p1 failed: no funds (R35)"


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [(None, None, "a person must look"), ("501", None, "501"), ("501", "refund-manually", "refund-manually")],
)
def test_r37_a_manual_outcome_is_reported_with_its_reason(code: str | None, message: str | None, expected: str) -> None:
    scenario = Scenario().play("hold; Out 6000")
    command = scenario.issued[0]

    scenario.judge(OutcomeReported(
        order_id=ORDER, outcome="manual", command_id=command.command_id, code=code, message=message
    ))  # fmt: skip

    assert scenario.event("command.manual").reason == f"The settle of 60.00 is manual: {expected} (R37)"


def test_r39_an_equal_decision_is_a_duplicate_and_a_contradicting_one_is_suspect() -> None:
    scenario = Scenario().play("hold; Out 3000; Out 2000; manual settle 3000; manual settle 2000")
    done, undone = scenario.issued
    scenario.play("resolve 2500 settle 3000 as X; resolve not settle 2000")
    scenario.now_ms += 1_000

    again = [scenario.operator("resolved", done, value=2500).fate, scenario.operator("resolved", undone, value=0).fate]
    others = [
        scenario.operator("resolved", done, value=0).fate, scenario.operator("resolved", done, value=2501).fate,
        scenario.operator("resolved", undone, value=1).fate,
    ]  # fmt: skip

    assert (again, others) == (["duplicate"] * 2, ["refused"] * 3)
    assert scenario.refused == ["suspect R32"] * 3
    scenario.shows("S 2500, P 0")


def test_r27_a_replayed_suspect_capture_is_decided_again_and_stored_once() -> None:
    scenario = Scenario(pay("a", 7000), pay("b", 3000)).play("auto 9000 on a as g1; auto 4000 on b as g2")

    again = scenario.give(auto(9000, "a", "g1"), replayed=True)
    other = scenario.give(auto(8000, "a", "g1"), replayed=True)

    assert (again.fate, other.fate) == ("applied", "refused")
    assert again.refusal is not None
    assert (again.refusal.code, again.refusal.rule, other.refusal and other.refusal.code) == (
        "suspect", "R27", "conflicting_duplicate",
    )  # fmt: skip
    assert sorted((one.settle_id, one.value, one.suspect) for one in scenario.order.unbooked) == [
        ("g1", 9000, True), ("g2", 4000, True),
    ]  # fmt: skip


def test_r27_the_record_of_a_waiting_capture_is_kept_until_it_is_decided() -> None:
    scenario = Scenario().play("hold; discount 3000")
    command = scenario.issued[0]

    waits = scenario.give(auto(8000))
    judged = scenario.answer(command, "ok")

    assert (waits.keeps_record, waits.judged, waits.unparks) == (True, [], False)
    assert judged is not None
    assert (judged.keeps_record, judged.judged) == (False, [("p1", "g1", True)])
    assert scenario.event("payment.suspect").cause_id == "g1"
    assert not scenario.give(auto(100, settle_id="g2")).keeps_record


def test_r27_only_suspect_captures_can_be_abandoned() -> None:
    scenario = Scenario(pay("a", 7000), pay("b", 3000)).play(
        "hold; discount 500; auto 8000 on a as g1; auto 2900 on b as g1"
    )

    scenario.play("abandon auto g1")

    assert [(one.payment_id, one.value) for one in scenario.order.unbooked] == [("b", 2900)]
    assert scenario.event("command.abandoned").numbers == {"value": 8000, "by": "Ana"}


def test_r14_a_change_exactly_at_a_limit_is_accepted() -> None:
    scenario = Scenario()

    fates = [
        scenario.give(change("c1", 9999)).fate,
        scenario.give(change("c2", 0, 2**53 - 2)).fate,
        scenario.give(change("c3", 0, 1)).fate,
        scenario.give(change("c4", 2**53 + 5000)).fate,
    ]

    assert fates == ["applied", "applied", "refused", "refused"]
    assert scenario.order.value == 2**53 - 1
    assert [one.reason for one in scenario.refusals] == [
        "Change refused: 90071992547409.92 is more than an amount can be (R14)",
        (
            "Change refused: 90071992547459.92 off would leave nothing of the 90071992547409.91 order; "
            "that is a cancellation (R14)"
        ),
    ]


def test_r14_a_change_of_items_at_equal_value_needs_no_authorization() -> None:
    scenario = Scenario().play("increase 3000")
    heard = len(scenario.event_types)

    decision = scenario.give(change("c9", 500, 500, items=True))

    assert (decision.fate, decision.commands, decision.entries) == ("applied", [], [])
    assert scenario.event_types[heard:] == ["change.accepted"]


def test_r27_a_waiting_capture_is_our_own_when_a_settle_returns_its_id() -> None:
    scenario = Scenario().play("hold; Out 6000; auto 6000 as X")
    assert [one.settle_id for one in scenario.order.unbooked] == ["X"]

    decision = scenario.answer(scenario.issued[0], "ok", "X")

    assert decision is not None
    assert (decision.judged, decision.order.unbooked) == ([("p1", "X", False)], [])
    scenario.shows("S 6000, P 0, open 4000")


def test_r27_a_suspect_capture_is_our_own_when_a_settle_returns_its_id() -> None:
    scenario = Scenario().play("hold; auto 11000 as X; Out 6000")

    decision = scenario.answer(scenario.issued[0], "ok", "X")

    assert decision is not None
    assert (decision.judged, decision.order.unbooked) == ([], [])
    scenario.shows("S 6000, P 0, open 4000")


@pytest.mark.parametrize(
    ("play", "why"),
    [
        ("hold; auto 2500 as X; Out 6000; short 2000 settle 3500 as X", "another value"),
        ("hold; auto 2500 as X; Out 6000; return 100; short 2500 settle 3500 as X", "it was refunded in part"),
    ],
)
def test_r32_a_settle_with_the_id_of_a_capture_of_other_value_or_refunded_is_suspect(play: str, why: str) -> None:
    scenario = Scenario().play(play)

    event = scenario.event("command.suspect")
    assert event.reason == "Settle id X is an automatic settlement of another value (R32)", why
    scenario.shows("S 2500, P 3500, K 6000, attention")


@pytest.mark.parametrize(("play", "command"), [
    ("hold; Out 6000", "settle 6000"), ("hold; discount 1500", "cancel 1500"), ("Out 6000; hold; return 1", "refund 1"),
])  # fmt: skip
def test_r32_a_success_with_a_value_of_zero_is_suspect(play: str, command: str) -> None:
    scenario = Scenario().play(play).play(f"short 0 {command}")

    amount = {"settle 6000": "60.00", "cancel 1500": "15.00", "refund 1": "0.01"}[command]
    assert scenario.event("command.suspect").reason == f"0.00 done of {amount} asked (R32)"
    assert scenario.payment().settling + scenario.payment().voiding + scenario.payment().refunding == int(
        command.split()[1]
    )


def test_r3_a_commission_of_one_cent_goes_with_its_share() -> None:
    scenario = Scenario(pay("p1", 10000, by="split", recipients=(recipient("x", 9999, 99), recipient("y", 1, 1))))

    scenario.play("Out 9000; Out 1000")

    assert [one.shares for one in scenario.issued] == [((8999, 89), (1, 1)), ((1000, 10), (0, 0))]


def test_i8_every_decision_sets_the_next_version_and_its_time() -> None:
    scenario = Scenario(opened=False)
    facts = (order_authorized(pay("p1", 10000)), change("c1", 500), change("c1", 600), auto(100))

    seen = [
        (scenario.judge(fact).fate, scenario.order.version, scenario.order.updated_at_ms - scenario.now_ms)
        for fact in facts
    ]

    assert seen == [("applied", 1, 0), ("applied", 2, 0), ("refused", 3, 0), ("applied", 4, 0)]


def test_r8_a_repeated_order_with_another_value_currency_or_payment_is_a_conflict() -> None:
    scenario = Scenario()

    same = scenario.give(order_authorized(pay("p1", 10000), merchant="renamed"))
    others = [
        scenario.give(order_authorized(pay("p1", 10000), value=9999)),
        scenario.give(order_authorized(pay("p1", 10000), currency="EUR")),
        scenario.give(order_authorized(pay("p2", 10000))),
    ]  # fmt: skip

    assert (same.fate, [one.fate for one in others]) == ("duplicate", ["refused"] * 3)
    assert scenario.refused == ["conflicting_duplicate R8"] * 3


@pytest.mark.parametrize(
    ("minor", "currency", "expected"),
    [
        (0, "USD", "0.00"), (1, "USD", "0.01"), (-1, "USD", "-0.01"), (99, "USD", "0.99"), (100, "USD", "1.00"),
        (-61400, "BRL", "-614.00"), (5, "JPY", "5"), (-5, "JPY", "-5"), (5, "KWD", "0.005"), (12345, "CLF", "1.2345"),
    ],
)  # fmt: skip
def test_an_amount_is_written_from_its_digits(minor: int, currency: str, expected: str) -> None:
    assert to_major(minor, currency) == expected


def test_r2_a_new_file_without_the_unknown_connector_changes_nothing() -> None:
    scenario = Scenario(pay("p1", 7000, by="unheard"), pay("p2", 3000))

    assert scenario.judge(ConnectorsNamed(order_id=ORDER)).fate == "duplicate"
    assert (scenario.order.awaits_connectors, scenario.order.mode) == (True, None)


def test_r28_expiring_and_lapsed_are_raised_once_at_their_exact_millisecond() -> None:
    scenario = Scenario(pay("p1", 10000, in_hours=48))
    fates = []
    for moment in (24 * HOUR_MS - 1, 24 * HOUR_MS, 48 * HOUR_MS - 1, 48 * HOUR_MS, 49 * HOUR_MS):
        scenario.now_ms = START_MS + moment - 1
        fates.append(scenario.judge(TimePassed(order_id=ORDER)).fate)

    assert fates == ["duplicate", "applied", "duplicate", "applied", "duplicate"]
    assert [one for one in scenario.event_types if one.startswith("auth")] == [
        "authorization.expiring",
        "authorization.lapsed",
    ]


def test_r26_a_full_return_does_not_wait_for_what_counted_as_taken_by_rounding() -> None:
    scenario = Scenario(pay("p1", 9500, reference=10000, cap=9999))
    scenario.play("Out 6000; increase 1; hold; Out 4001; return 10001; go")

    assert scenario.commands == "settle 5700, settle 3800, refund 5700, refund 3800"
    scenario.shows("S 9500, F 9500, finished")
    assert scenario.state["refundsWaiting"] == 0


def test_r39_a_short_refund_can_be_retried_however_small_its_reference_value() -> None:
    """Three cents of the payment are worth one of the order's, and two of them are rounded to one."""
    scenario = Scenario(pay("p1", 30, reference=10)).play("hold; Out 1; ok settle 3; Out 9; return 1; short 2 refund 3")
    assert scenario.state["attention"], "no attention"

    scenario.play("retry refund 3")
    assert scenario.commands.endswith("refund 3, refund 1")


def test_r32_a_refund_with_the_id_of_a_suspect_automatic_settlement_is_suspect() -> None:
    scenario = Scenario().play("hold; Out 6000; auto 10000 as gX; ok settle 6000; return 1000; ok refund 1000 as gX")

    assert scenario.event_types[-1] == "command.suspect"
    scenario.shows("F 0, G 1000")


@pytest.mark.parametrize(
    ("value", "play", "commands"),
    [
        (1600, "Out 1200; hold; Out 400; auto 400 as g", "settle 1200, settle 400, refund 400"),
        (1000, "Out 200; hold; Out 400; auto 400 as g; discount 200", "settle 200, settle 400, refund 200"),
    ],
)
def test_i4_a_settle_that_was_an_already_refunded_capture_is_suspect_and_not_repeated(
    value: int, play: str, commands: str
) -> None:
    scenario = Scenario(pay("p1", 2000), value=value).play(play)

    scenario.play("ok settle 400 as g").shows("lacks 0, waits 0")
    assert scenario.attention == [("suspect", 400)]
    assert scenario.commands == commands


@pytest.mark.parametrize("by", ["total", "hold"])
@pytest.mark.parametrize("decision", ["", "; abandon cancel 10000"])
def test_r22_after_a_capture_the_rest_is_booked_as_voided_even_if_the_void_was_abandoned(
    by: str, decision: str
) -> None:
    scenario = Scenario(pay("p1", 10000, by=by)).script("cancel", "declined").play(f"cancel{decision}; auto 4000")

    assert scenario.commands == "cancel 10000, refund 4000"
    scenario.shows("S 4000, F 4000, C 6000, open 0")
