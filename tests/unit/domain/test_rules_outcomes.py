"""R32, R33, R35, R37: outcomes of commands, as far as the order is concerned."""

import pytest

from tests.unit.domain.scenario import Scenario, pay

# R32


def test_r32_a_success_for_less_than_requested_is_booked_and_reported_short() -> None:
    scenario = (
        Scenario().play("hold; Out 6000; short 4500 settle 6000; go").shows("S 4500, open 5500, lacks 1500, attention")
    )

    assert scenario.event("settlement.confirmed").numbers["short"] == 1500
    assert scenario.invoice("1")["status"] == "short"
    assert scenario.invoice("1")["done"] == 4500
    assert scenario.attention == [("short", 1500)]


def test_r32_the_rest_of_a_short_settle_is_not_requested_automatically() -> None:
    scenario = Scenario().play("hold; Out 6000; short 4500 settle 6000; go; pay p2 5000; Out 100")

    assert scenario.commands == "settle 6000, settle 100"


def test_r32_a_short_refund_is_booked_and_its_rest_refunded_only_by_its_retry() -> None:
    scenario = Scenario().script("refund", "short 1000").play("Out 6000; return 4000").shows("F 1000, G 0, attention")

    scenario.play("return 2000").shows("F 3000").play("retry refund 4000").shows("F 6000")
    assert scenario.commands == "settle 6000, refund 4000, refund 2000, refund 3000"
    assert scenario.state["status"] == "open"


def test_r32_an_operation_id_of_another_command_of_the_payment_is_suspect() -> None:
    scenario = Scenario().play("hold; Out 3000; ok settle 3000 as X; Out 2000; ok settle 2000 as X")

    scenario.shows("S 3000, P 2000, attention")
    assert scenario.event("command.suspect").rule == "R32"
    assert scenario.state["payments"][0]["frozen"]


def test_r32_an_operation_id_of_another_payment_is_accepted() -> None:
    scenario = Scenario(pay("a", 7000), pay("b", 3000)).play(
        "hold; Out 10000; ok settle 3000 as X; ok settle 7000 as X"
    )

    scenario.shows("S 10000, P 0")


@pytest.mark.parametrize("operation", ["refund", "cancel"])
def test_r32_the_id_of_an_automatic_settlement_is_suspect_for_other_operations(operation: str) -> None:
    play = "auto 5000 as X; discount 5500; " if operation == "refund" else "auto 5000 as X; discount 500; "
    amount = 500
    scenario = Scenario().play("hold").play(play)
    command = next(one for one in scenario.issued if one.operation == operation and one.value in (amount, 5000))

    scenario.answer(command, "ok", "X")

    assert scenario.order.commands[command.command_id].state == "suspect"


# R33


@pytest.mark.parametrize("play", ["Out 6000", "discount 600", "auto 10000; discount 600"])
def test_r33_a_command_unknown_at_the_horizon_keeps_its_amount_reserved(play: str) -> None:
    scenario = Scenario().play("hold").play(play)
    before = scenario.amounts()
    command = scenario.issued[-1]

    scenario.answer(command, "unknown")

    assert scenario.amounts() == before
    assert scenario.event("command.unknown").rule == "R33"
    assert scenario.attention == [("unknown", command.value)]
    assert scenario.state["payments"][0]["frozen"]


def test_r33_a_late_success_of_an_unknown_command_is_booked() -> None:
    Scenario().play("hold; Out 6000; unknown settle 6000; retry settle 6000; ok settle 6000").shows("S 6000, P 0")


def test_r33_a_repeated_unknown_outcome_is_a_duplicate() -> None:
    scenario = Scenario().play("hold; Out 6000")
    outcome = scenario.outcome("unknown", scenario.issued[0])
    scenario.give(outcome)

    assert scenario.give(outcome).fate == "duplicate"
    assert scenario.event_types.count("command.unknown") == 1


def test_r32_a_return_with_a_short_refund_is_short_until_the_rest_is_abandoned() -> None:
    scenario = Scenario().play("Out 6000; hold; return 1000 as 1r; short 600 refund 1000; go")
    assert (scenario.invoice("1r")["status"], scenario.invoice("1r")["done"]) == ("short", 600)

    scenario.play("abandon refund 1000")
    assert scenario.invoice("1r")["status"] == "refund_failed"


# R35


@pytest.mark.parametrize(
    ("play", "operation", "event_type", "status"),
    [
        ("Out 6000", "settle", "settlement.failed", "settlement_failed"),
        ("Out 6000; return 600 as 1r", "refund", "refund.failed", "refund_failed"),
        ("discount 600", "cancel", "void.failed", None),
    ],
)
def test_r35_a_decline_releases_the_reservation_and_is_reported(
    play: str, operation: str, event_type: str, status: str | None
) -> None:
    scenario = Scenario().script(operation, "declined").play(play)

    assert event_type in scenario.event_types
    scenario.shows("P 0, D 0, G 0, attention")
    assert [one["code"] for one in scenario.state["attention"]] == ["failed"]
    if status:
        assert scenario.state["invoices"][-1]["status"] == status


def test_r35_a_declined_amount_is_neither_moved_to_another_payment_nor_requested_again() -> None:
    scenario = Scenario(pay("a", 7000), pay("b", 3000)).script("settle", "declined").play("Out 3000; Out 1000; Out 100")

    assert scenario.commands_of("b") == "settle 3000, settle 1000, settle 100"
    assert scenario.commands_of("a") == ""
    scenario.shows("S 1100, lacks 3000")


def test_r35_a_declined_amount_is_open_for_other_invoices() -> None:
    """No rule reserves it; a retry takes at most the payment's room (R39)."""
    scenario = Scenario().script("settle", "declined").play("Out 6000; Out 4000; increase 0").shows("S 4000, open 6000")

    assert scenario.refused == ["rejected R14"]


def test_r35_a_declined_void_leaves_its_amount_open() -> None:
    scenario = Scenario().script("cancel", "declined").play("discount 1500").shows("C 0, D 0, open 10000, V 8500")

    assert scenario.event("void.failed").rule == "R35"


def test_r35_when_one_settle_covers_all_invoices_its_failure_is_listed_under_no_return() -> None:
    scenario = Scenario(by="total").play("hold; Out 3000; return 500; Out 2000; declined settle 10000")

    assert [(one.invoice, one.amount) for one in scenario.order.lacks] == [("1", 3000), ("2", 2000)]


@pytest.mark.parametrize(("first", "second"), [("ok", "declined"), ("declined", "ok"), ("ok", "short 100")])
def test_the_first_final_outcome_is_booked_and_a_different_one_is_suspect(first: str, second: str) -> None:
    scenario = Scenario().play("hold; Out 6000")
    command = scenario.issued[0]
    scenario.answer(command, first)
    before = scenario.amounts()

    decision = scenario.answer(command, second)

    assert decision is not None
    assert scenario.amounts() == before
    assert scenario.event_types[-1] == "command.suspect"
    assert decision.refusal is not None
    assert decision.refusal.code == "suspect"


@pytest.mark.parametrize("answer", ["ok", "declined"])
def test_a_repeat_of_the_final_outcome_is_a_duplicate(answer: str) -> None:
    scenario = Scenario().play("hold; Out 6000")
    done = 6000 if answer == "ok" else 0
    kind = "succeeded" if answer == "ok" else "declined"
    outcome = scenario.outcome(kind, scenario.issued[0], value=done, operation_id="X" if done else None)
    scenario.give(outcome)

    assert scenario.give(outcome).fate == "duplicate"


# R37


def test_r37_a_manual_command_keeps_its_amount_reserved_and_does_not_block_later_ones() -> None:
    scenario = (
        Scenario().play("hold; Out 6000; manual settle 6000; go; Out 4000").shows("S 4000, P 6000, attention, invoiced")
    )

    assert scenario.event("command.manual").rule == "R37"
    assert not scenario.state["payments"][0]["frozen"]
    scenario.play("resolve 6000 settle 6000").shows("S 10000, finished")


def test_r37_a_manual_refund_is_booked_only_when_it_is_resolved() -> None:
    scenario = Scenario().script("refund", "manual").play("Out 10000; return 2500").shows("F 0, G 2500, attention")

    scenario.play("resolve 2500 refund 2500").shows("F 2500, G 0, finished")
    assert scenario.state["status"] == "finished"


def test_the_snapshot_has_every_field_of_the_contract() -> None:
    scenario = (
        Scenario(pay("a", 7000), pay("b", 3000))
        .script("settle", "declined")
        .play("Out 3000; Out 500; return 100; auto 5 on a")
    )

    state = scenario.state
    sums = {"authorized", "settled", "settling", "refunded", "refunding", "voided", "voiding", "open"}
    order = {"orderId", "merchant", "currency", "mode", "status", "phase", "value", "invoiced", "returned"}
    order |= {"waiting", "refundsWaiting", "payments", "invoices", "attention", "version", "updatedAt"}
    assert set(state) == sums | order
    assert set(state["payments"][0]) == sums | {"paymentId", "connector", "frozen", "lapsed", "settlements"}
    assert set(state["payments"][0]["settlements"][0]) == {"settleId", "value", "refunded", "automatic"}
    assert set(state["invoices"][0]) == {"invoiceNumber", "type", "value", "excess", "done", "status"}
    assert set(state["attention"][0]) == {
        "code",
        "paymentId",
        "commandId",
        "invoiceNumber",
        "settleId",
        "amount",
    }
