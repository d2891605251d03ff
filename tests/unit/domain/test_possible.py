"""Decisions are checked when they are typed, by the rules by which the ledger decides them later (R39)."""

import pytest

from tests.unit.domain.scenario import Scenario, pay
from worker.domain.possible import why_not_asked_again, why_not_done, why_not_given_up

ABOVE = "{} USD is above the {} USD that can have been done, which is {} in minor units"
LAPSED = "order o1 has no lapsed amount of invoice {} that could be given up"
NO_OTHER = "and no other payment takes over what it failed to capture: abandon it"
EXPIRED = "the authorization of payment p1 has expired"
IN_FLIGHT = "payment p1 has no room for it: wait until its settles and voids in flight have ended, or abandon it"
SUSPECT = "order o1 has no suspect automatic settlement {} that could be given up"


@pytest.mark.parametrize(
    ("operation", "play", "most", "in_minor"),
    [
        ("settle", "Out 6000", "100.00", 10_000),
        ("cancel", "discount 1500", "100.00", 10_000),
        ("refund", "Out 6000; return 1000", "60.00", 6_000),
    ],
)
def test_r39_a_resolution_above_the_limit_is_refused_when_typed_and_by_the_ledger(
    operation: str, play: str, most: str, in_minor: int
) -> None:
    scenario = Scenario().script(operation, "manual").play(play)
    command = scenario.issued[-1]

    assert why_not_done(scenario.order, command.command_id, in_minor, "by hand") is None
    assert why_not_done(scenario.order, command.command_id, in_minor + 1, "by hand") == ABOVE.format(
        f"{most[:-1]}1", most, in_minor
    )
    scenario.operator("resolved", command, value=in_minor + 1, operation_id="by hand")
    assert f"is above the {most} that can have been done" in scenario.refusals[-1].reason


def test_r39_only_settles_need_an_operation_id_of_their_own() -> None:
    scenario = (
        Scenario().script("settle", "ok", "manual").script("refund", "manual").play("Out 6000; Out 1000; return 500")
    )
    [first, settle, refund] = scenario.issued
    taken = scenario.order.commands[first.command_id].operation_id or ""

    assert why_not_done(scenario.order, settle.command_id, 1000, taken) == (
        f"settle id {taken} is another settlement's of payment p1: two settles are never closed under one"
    )
    assert why_not_done(scenario.order, settle.command_id, 1000, "another") is None
    assert why_not_done(scenario.order, refund.command_id, 500, taken) is None


def test_r39_a_settle_may_be_resolved_under_the_id_of_an_automatic_settlement() -> None:
    scenario = Scenario().script("settle", "manual").play("auto 1000 as g1; Out 6000")

    assert why_not_done(scenario.order, scenario.issued[0].command_id, 1000, "g1") is None


def test_r39_an_ended_or_unknown_command_is_left_to_the_ledger() -> None:
    scenario = Scenario().play("Out 6000")

    assert why_not_done(scenario.order, scenario.issued[0].command_id, 99_999, "by hand") is None
    assert why_not_done(scenario.order, "nowhere", 99_999, "by hand") is None
    assert why_not_asked_again(scenario.order, scenario.issued[0].command_id) is None
    assert why_not_asked_again(scenario.order, "nowhere") is None


def test_r39_a_lapsed_amount_can_be_abandoned_once_and_only_under_its_own_invoice() -> None:
    scenario = Scenario(pay("p1", 10000, in_hours=48)).play("Out 4000 as w; wait 49h; Out 3000 as x")

    assert why_not_given_up(scenario.order, "o1", "x", None) is None
    assert why_not_given_up(scenario.order, "o1", "w", None) == LAPSED.format("w")
    scenario.play("abandon invoice x")
    assert why_not_given_up(scenario.order, "o1", "x", None) == LAPSED.format("x")


def test_r39_an_automatic_settlement_can_be_abandoned_once_and_only_if_suspect() -> None:
    scenario = Scenario().play("auto 4000 as g1; Out 10000; auto 5 as g2")

    assert why_not_given_up(scenario.order, "o1", None, "g2") is None
    assert why_not_given_up(scenario.order, "o1", None, "g1") == SUSPECT.format("g1")
    scenario.play("abandon auto g2")
    assert why_not_given_up(scenario.order, "o1", None, "g2") == SUSPECT.format("g2")


def test_r39_an_automatic_settlement_that_is_not_decided_yet_cannot_be_abandoned() -> None:
    scenario = Scenario().play("hold; Out 10000; auto 5 as g1")

    assert why_not_given_up(scenario.order, "o1", None, "g1") == SUSPECT.format("g1")


def test_r39_nothing_of_an_unknown_order_can_be_abandoned() -> None:
    assert why_not_given_up(None, "o1", "1", None) == LAPSED.format("1")
    assert why_not_given_up(None, "o1", None, "g1") == SUSPECT.format("g1")


@pytest.mark.parametrize(
    ("play", "why"),
    [
        ("Out 6000; wait 49h", f"{EXPIRED}, {NO_OTHER}, unless the gateway captures by itself"),
        ("increase 6000; Out 6000; Out 6000; Out 4000", f"payment p1 has no room for it, {NO_OTHER}"),
        ("increase 6000; Out 6000; hold; Out 6000; Out 4000", IN_FLIGHT),
    ],
)  # fmt: skip
def test_r39_a_settle_cannot_be_retried_when_its_payment_has_no_room(play: str, why: str) -> None:
    scenario = Scenario(pay("p1", 10000, in_hours=48)).script("settle", "declined").play(play)
    declined = scenario.issued[0]

    assert why_not_asked_again(scenario.order, declined.command_id) == why

    scenario.operator("retried", declined)
    assert all(one.retry_of is None for one in scenario.issued)


def test_r39_a_void_cannot_be_retried_when_nothing_is_open() -> None:
    scenario = Scenario().script("cancel", "declined").play("discount 1000; auto 10000")
    declined = scenario.issued[0]

    assert why_not_asked_again(scenario.order, declined.command_id) == (
        "nothing of payment p1 is open that a void could free: abandon it"
    )
    scenario.operator("retried", declined)
    assert all(one.retry_of is None for one in scenario.issued)


@pytest.mark.parametrize("play", ["script", "unknown", "another"])
def test_r39_a_retry_of_a_declined_an_unknown_or_a_missing_command_is_not_refused(play: str) -> None:
    scenario = Scenario().play("hold; Out 6000" + {"unknown": "; unknown settle 6000"}.get(play, ""))
    if play == "script":
        scenario.play("declined settle 6000; go")

    command_id = "nowhere" if play == "another" else scenario.issued[0].command_id
    assert why_not_asked_again(scenario.order, command_id) is None
