"""Published commands, events and snapshots have the fields of the contract."""

from typing import Any

import pytest
from msgspec.structs import replace

from tests.unit.domain.scenario import ORDER, START_MS, Scenario, order_authorized, pay, recipient
from worker.domain.facts import Authorization
from worker.domain.published import command_message, event_message, needs_attention, needs_authorization, timestamp


def _with_names(payment: Authorization) -> Authorization:
    return replace(payment, tid="T1", nsu="N1")


def test_a_settle_carries_everything_that_its_request_needs() -> None:
    scenario = Scenario(_with_names(pay("p1", 10000))).play("Out 6000 as A-1")

    settle = scenario.issued[0]

    assert command_message(scenario.order, settle, START_MS + 7) == {
        "commandId": settle.command_id, "requestId": settle.request_id, "orderId": ORDER, "paymentId": "p1",
        "transactionId": "tx-p1", "authorizationId": "auth-p1", "connector": "partial", "merchant": "shop",
        "currency": "USD", "value": 6000, "sequence": 1, "cause": {"kind": "invoice", "id": "A-1"}, "retryOf": None,
        "settleId": None, "tid": "T1", "nsu": "N1", "issuedAt": "2027-01-15T08:00:00.007Z",
    }  # fmt: skip


def test_a_refund_names_its_settlement_and_a_retry_the_command_it_repeats() -> None:
    scenario = Scenario().script("refund", "declined").play("Out 6000; return 1000; retry refund 1000")
    _, first, again = scenario.issued

    message = command_message(scenario.order, again, START_MS)

    assert (message["settleId"], message["retryOf"], message["sequence"]) == ("settle-1", first.command_id, 3)
    assert message["cause"] == {"kind": "invoice", "id": "r1"}


def test_a_refund_of_a_change_is_not_counted_for_a_return_with_the_same_id() -> None:
    scenario = Scenario().play("auto 8000; discount 5000 as x; Out 5000; hold; return 500 as x")

    refunds = [(one.cause_kind, one.cause_id, one.value) for one in scenario.issued if one.operation == "refund"]
    assert refunds == [("change", "x", 3000), ("invoice", "x", 500)]
    assert scenario.invoice("x")["done"] == 0
    scenario.play("go")
    assert scenario.invoice("x")["done"] == 500


def test_a_split_settle_names_each_recipient_with_its_share_and_attributes() -> None:
    x = replace(recipient("x", 6000, 600), charge_processing_fee=True, chargeback_liable=False)
    scenario = Scenario(pay("p1", 10000, by="split", recipients=(x, recipient("y", 4000)))).play(
        "Out 5000; discount 1000"
    )
    settle, void = scenario.issued

    plain = {"documentType": "CNPJ", "document": "1", "role": "seller"}
    assert command_message(scenario.order, settle, 0)["recipients"] == [
        {"id": "x", "name": "x", **plain, "amount": 3000, "chargeProcessingFee": True, "chargebackLiable": False,
         "commissionAmount": 300},
        {"id": "y", "name": "y", **plain, "amount": 2000},
    ]  # fmt: skip
    assert "recipients" not in command_message(scenario.order, void, 0)


def test_an_event_names_what_happened_its_rule_and_the_source_of_the_fact() -> None:
    scenario = Scenario().play("Out 6000")
    event = scenario.event("invoice.accepted")

    message = event_message(scenario.order, event, ("erp.invoices.v1", 3, 42), START_MS)

    assert message == {
        "sequence": 2, "orderId": ORDER, "type": "invoice.accepted", "rule": "R4",
        "reason": "Invoice 1 of 60.00 accepted (R4)", "numbers": {"value": 6000, "excess": 0, "invoiced": 6000},
        "cause": {"kind": "invoice", "id": "1"},
        "source": {"topic": "erp.invoices.v1", "partition": 3, "offset": 42}, "at": "2027-01-15T08:00:00.000Z",
    }  # fmt: skip
    assert event_message(scenario.order, event, None, START_MS)["source"] is None


def test_a_time_is_written_to_the_millisecond_in_utc() -> None:
    assert timestamp(0) == "1970-01-01T00:00:00.000Z"
    assert timestamp(1_800_000_000_123) == "2027-01-15T08:00:00.123Z"


def test_the_snapshot_shows_the_whole_order() -> None:
    scenario = Scenario(pay("a", 7000), pay("b", 3000)).play(
        "Out 5000; discount 1500; auto 500 on a as g1; return 1000"
    )
    scenario.play("hold; increase 9000; Out 6000; return 500 as r2; auto 9000 on b as g2")

    state = scenario.state

    assert state == {
        "orderId": ORDER, "merchant": "shop", "currency": "USD", "mode": "PARTIAL", "status": "attention",
        "phase": "open", "value": 17500, "invoiced": 11000, "returned": 1500, "waiting": 2500, "refundsWaiting": 0,
        "authorized": 10000, "settled": 5500, "settling": 3000, "refunded": 1000, "refunding": 500, "voided": 1500,
        "voiding": 0, "open": 0,
        "payments": [
            {"paymentId": "a", "authorized": 7000, "settled": 2500, "settling": 3000, "refunded": 1000,
             "refunding": 500,
             "voided": 1500, "voiding": 0, "open": 0, "connector": "partial", "frozen": False, "lapsed": False,
             "settlements": [
                 {"settleId": "settle-2", "value": 2000, "refunded": 1000, "automatic": False},
                 {"settleId": "g1", "value": 500, "refunded": 0, "automatic": True},
             ]},
            {"paymentId": "b", "authorized": 3000, "settled": 3000, "settling": 0, "refunded": 0, "refunding": 0,
             "voided": 0, "voiding": 0, "open": 0, "connector": "partial", "frozen": False, "lapsed": False,
             "settlements": [{"settleId": "settle-1", "value": 3000, "refunded": 0, "automatic": False}]},
        ],
        "invoices": [
            {"invoiceNumber": "1", "type": "Output", "value": 5000, "excess": 0, "done": 5000, "status": "settled"},
            {"invoiceNumber": "r1", "type": "Input", "value": 1000, "excess": 0, "done": 1000, "status": "refunded"},
            {"invoiceNumber": "2", "type": "Output", "value": 6000, "excess": 0, "done": 500, "status": "accepted"},
            {"invoiceNumber": "r2", "type": "Input", "value": 500, "excess": 0, "done": 0, "status": "accepted"},
        ],
        "attention": [
            {"code": "suspect", "paymentId": "b", "commandId": None, "invoiceNumber": None, "settleId": "g2",
             "amount": 9000},
        ],
        "version": scenario.order.version, "updatedAt": timestamp(scenario.now_ms),
    }  # fmt: skip
    assert needs_attention(scenario.order)


def _needs(scenario: Scenario) -> list[dict[str, Any]]:
    names = {command.command_id: f"{command.operation} {command.value}" for command in scenario.issued}
    return [
        {name: names.get(value, value) for name, value in need.items() if value is not None}
        for need in scenario.state["attention"]
    ]


def test_every_entry_of_attention_names_its_command_and_its_invoice() -> None:
    scenario = Scenario().script("settle", "declined", "short 1000", "unknown").play("Out 2000; Out 3000; Out 4000")

    assert _needs(scenario) == [
        {"code": "failed", "paymentId": "p1", "commandId": "settle 2000", "invoiceNumber": "1", "amount": 2000},
        {"code": "short", "paymentId": "p1", "commandId": "settle 3000", "invoiceNumber": "2", "amount": 2000},
        {"code": "unknown", "paymentId": "p1", "commandId": "settle 4000", "invoiceNumber": "3", "amount": 4000},
    ]
    assert scenario.state["payments"][0]["frozen"]


def test_a_failed_refund_names_its_settlement_and_a_failed_void_names_no_invoice() -> None:
    scenario = Scenario().script("refund", "declined").script("cancel", "declined")
    scenario.play("Out 6000; return 1000; discount 1500")

    assert _needs(scenario) == [
        {"code": "failed", "paymentId": "p1", "commandId": "refund 1000", "invoiceNumber": "r1",
         "settleId": "settle-1", "amount": 1000},
        {"code": "failed", "paymentId": "p1", "commandId": "cancel 1500", "amount": 1500},
    ]  # fmt: skip


def test_a_failed_void_needs_no_attention_once_nothing_is_open() -> None:
    scenario = Scenario().script("cancel", "declined").play("discount 1500; auto 9500")

    assert _needs(scenario) == [{"code": "failed", "paymentId": "p1", "commandId": "cancel 1500", "amount": 500}]
    assert _needs(scenario.play("auto 500")) == []


def test_a_lapsed_amount_is_named_by_its_invoice() -> None:
    scenario = Scenario(pay("p1", 10000, in_hours=48)).play("wait 49h; Out 6000")

    assert _needs(scenario) == [{"code": "lapsed", "invoiceNumber": "1", "amount": 6000}]
    assert scenario.state["payments"][0]["lapsed"]


def test_with_interest_attention_shows_the_real_value() -> None:
    scenario = Scenario(pay("p1", 20000, reference=10000)).script("settle", "short 4000").play("Out 6000")

    assert _needs(scenario) == [
        {"code": "short", "paymentId": "p1", "commandId": "settle 12000", "invoiceNumber": "1", "amount": 8000}
    ]


def test_an_order_without_failures_needs_no_attention() -> None:
    scenario = Scenario().play("Out 6000; return 500; discount 1000")

    assert not needs_attention(scenario.order)
    assert scenario.state["status"] == "open"


def test_an_order_needs_another_authorization_while_a_single_cent_waits_for_one() -> None:
    scenario = Scenario(pay("p1", 9999), value=10000).play("Out 9999")
    assert not needs_authorization(scenario.order)

    assert needs_authorization(scenario.play("Out 1").order)
    assert not needs_authorization(scenario.play("pay p2 1").order)


def test_when_one_settle_covers_all_invoices_the_oldest_are_done_first() -> None:
    scenario = Scenario(by="total").script("settle", "short 4000").play("Out 3000; Out 2000; Out 1000")

    assert [(one["done"], one["status"]) for one in scenario.state["invoices"]] == [
        (3000, "settled"), (1000, "short"), (0, "short"),
    ]  # fmt: skip


@pytest.mark.parametrize("by", ["total", "hold"])
@pytest.mark.parametrize("play", ["Out 4000; Out 6000", "hold; Out 4000; Out 6000; go"], ids=["at once", "later"])
def test_when_one_of_two_settles_fails_the_newest_invoice_lacks_its_amount(by: str, play: str) -> None:
    scenario = Scenario(pay("a", 3000, by=by), pay("b", 7000, by=by)).script("settle", "declined").play(play)

    assert [(one["done"], one["status"]) for one in scenario.state["invoices"]] == [
        (4000, "settled"), (3000, "settlement_failed"),
    ]  # fmt: skip


def test_an_order_that_waits_for_its_connector_has_no_mode_yet() -> None:
    scenario = Scenario(pay("p1", 10000, by="unheard of"), opened=False)

    scenario.give(order_authorized(*scenario.payments))

    assert scenario.order.awaits_connectors
    assert scenario.state["mode"] is None


def test_with_interest_a_short_refund_reports_the_amount_not_done() -> None:
    """R32: 11 were requested and 6 done, so 5 are short, whatever their rounded reference value."""
    play = "auto 13; auto 4 as g4; Out 23; return 10"
    scenario = Scenario(pay("p1", 24, reference=23)).script("refund", "short 6").play(play)

    assert scenario.event("refund.confirmed").numbers["short"] == 5
    assert scenario.attention == [("short", 5)]


def test_with_interest_a_short_settle_reports_the_amount_not_done() -> None:
    scenario = Scenario(pay("p1", 29, reference=23)).script("settle", "short 12").play("Out 20")

    assert scenario.event("settlement.confirmed").numbers["short"] == 13
    assert scenario.attention == [("short", 13)]


def test_with_interest_the_done_amount_of_a_return_never_exceeds_its_value() -> None:
    """20 for 10: of a return of 4, 8 were requested and 7 refunded, which counts as 4; the last cent counts nothing."""
    scenario = (
        Scenario(pay("p1", 20, reference=10)).script("refund", "short 7").play("Out 10; return 4; retry refund 8")
    )

    assert scenario.commands == "settle 20, refund 8, refund 1"
    assert (scenario.invoice("r1")["done"], scenario.invoice("r1")["status"]) == (4, "refunded")


def test_a_return_of_which_a_part_was_dropped_has_failed() -> None:
    """VTEX logs as refunded what the connector never refunded."""
    scenario = Scenario().script("settle", "hold").play("Out 6000; Out 2000; return 4000; declined settle 6000")
    assert (scenario.invoice("r1")["status"], scenario.invoice("r1")["done"]) == ("refund_waiting", 2000)

    scenario.play("abandon settle 6000")

    assert (scenario.invoice("r1")["status"], scenario.invoice("r1")["done"]) == ("refund_failed", 2000)


def test_a_return_of_which_one_cent_was_dropped_has_failed_also_after_later_sales_and_returns() -> None:
    scenario = Scenario().script("settle", "hold", "ok", "declined").play("Out 6000; Out 2000; return 2001; Out 500")
    scenario.play("declined settle 6000; abandon settle 6000; abandon settle 500")

    assert (scenario.invoice("r1")["status"], scenario.invoice("r1")["done"]) == ("refund_failed", 2000)

    scenario.play("hold; Out 1500; return 1000")

    assert [scenario.invoice(number)["status"] for number in ("r1", "r2")] == ["refund_failed", "refund_waiting"]


@pytest.mark.parametrize("second", [38, 39])
def test_with_interest_a_return_is_refunded_though_another_one_was_dropped(second: int) -> None:
    """One cent of the first return was too small to be sent, and went with the second."""
    scenario = Scenario(pay("p1", 30, reference=100)).play(f"Out 50; Out 40; return 51; return {second}")

    scenario.script("settle", "hold").play("Out 9; return 5; declined settle 3; abandon settle 3")

    shown = {number: scenario.invoice(number)["status"] for number in ("r1", "r2", "r3")}
    assert shown == {"r1": "refunded", "r2": "refunded", "r3": "refund_failed"}
