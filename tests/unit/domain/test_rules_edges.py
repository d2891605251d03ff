"""Where a rule has an edge: the last cent, the second of two, the repeat with other content."""

import pytest

from tests.unit.domain.world import World, auto, pay, tracking
from worker.domain.money import divided
from worker.domain.objection import objection


def test_r39_of_two_waiting_returns_the_newest_is_dropped_first_and_only_as_far_as_needed() -> None:
    world = World().say("hold; Out 3000; Out 2999; return 2000; return 3000")
    world.say("declined settle 3000; abandon settle 3000").shows("refunds_wait 2999")

    dropped = [(one.cause_id, one.numbers["value"]) for one in world.events if one.type == "refund.failed"]
    assert dropped == [("r2", 2001)]
    assert [(one.cause_id, one.amount) for one in world.order.demands] == [("r1", 2000), ("r2", 999)]

    world.say("declined settle 2999; abandon settle 2999").shows("refunds_wait 0")
    assert world.order.dropped == 5000


def test_r32_an_operation_id_of_another_command_makes_suspect_by_name_and_number() -> None:
    world = World().say("hold; Out 6000; Out 4000; ok settle 6000 as X; ok settle 4000 as X")

    told = world.event("command.suspect")
    assert told.numbers == {"commandId": world.issued[1].command_id, "value": 4000}
    assert told.reason == "Operation id X is another command's (R32)"


def test_r22_what_the_gateway_captured_is_given_back_by_the_rule_of_cancellation() -> None:
    world = World().say("auto 3000; cancel")

    assert world.told == "cancel 7000, refund 3000"
    assert world.event("refund.requested").rule == "R22"


def test_r27_a_settlement_that_was_given_up_stays_refused_and_one_of_other_content_is_judged() -> None:
    world = World(pay("a", 7000), pay("b", 3000)).say("auto 9000 on a as g1; abandon auto g1; auto 9000 on a as g1")
    assert world.fates["duplicate"] == 1

    world.give(auto(3000, "b", "g1"))
    world.give(auto(500, "a", "g1"))

    world.shows("S 3500")


def test_r3_where_no_recipient_has_anything_to_receive_the_first_takes_all() -> None:
    assert divided(5, [0, 0, 0]) == [5, 0, 0]
    assert divided(5, []) == []


def test_r11_an_update_of_tracking_names_its_rule_and_the_same_again_is_a_duplicate() -> None:
    world = World().say("Out 6000")

    fates = [world.give(tracking("1", **fields)).fate for fields in ({}, {}, {"courier": "c"}, {"courier": "c"})]

    assert fates == ["applied", "duplicate", "applied", "duplicate"]
    assert {one.rule for one in world.events if one.type == "tracking.updated"} == {"R11"}


@pytest.mark.parametrize(
    ("play", "action"),
    [("Out 6000", "abandoned"), ("hold; Out 6000", "abandoned"), ("hold; Out 6000; unknown settle 6000", "abandoned")],
)
def test_r39_where_nothing_failed_there_is_nothing_to_give_up(play: str, action: str) -> None:
    world = World().say(play)

    world.person("abandoned", world.issued[0])

    assert world.event("command.abandoned").reason == (
        "Ana decided (seen at the acquirer): there is nothing to give up (R39)"
    )


def test_r39_a_retry_of_a_refund_that_came_back_by_hand_finds_nothing() -> None:
    world = World().script("refund", "declined", "ok").say("Out 6000; return 1; retry refund 1; retry refund 1 #1")

    assert world.told == "settle 6000, refund 1, refund 1"
    world.shows("F 1")


def test_r39_more_than_was_asked_can_have_been_refunded_also_from_what_a_decline_set_aside() -> None:
    world = World().script("refund", "declined", "manual").say("Out 6000; return 1000; return 2000")

    world.person("resolved", world.issued[2], value=6001)
    assert "above the 60.00 that can have been done" in world.refusals[-1].reason
    world.person("resolved", world.issued[2], value=6000, operation_id="by hand")
    world.shows("F 6000")


_STATES = ("sent", "succeeded", "short", "declined", "manual", "suspect", "unknown")
_ALLOWED = {
    "retry": ("short", "declined", "suspect", "unknown"), "resolve": ("manual", "suspect", "unknown"),
    "abandon": ("short", "declined"),
}  # fmt: skip


@pytest.mark.parametrize("action", _ALLOWED)
def test_r39_what_may_be_decided_depends_on_what_became_of_the_command(action: str) -> None:
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
def test_r39_an_objection_says_what_could_be_decided_instead(action: str, why: str) -> None:
    assert objection(action, "sent", 0, 6000) == f"the command is sent; {why}"
