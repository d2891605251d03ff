"""Every refusal is one plain sentence with its numbers and its rule, in the event and in the dead letter (R31)."""

from typing import Any

import pytest

from tests.unit.domain.scenario import (
    ORDER,
    Scenario,
    added,
    change,
    order_authorized,
    out,
    pay,
    ret,
    tracking,
    with_value,
)
from worker.domain.facts import Fact, OutcomeReported

ANOTHER = order_authorized(pay("p1", 9000))
REFUSALS: dict[str, tuple[str, Fact, str, str, dict[str, Any]]] = {
    "an order that is known otherwise": (
        "Out 6000", ANOTHER, "Order o1 is already authorized with other content (R8)", "conflicting_duplicate",
        {"value": 9000},
    ),
    "a payment that is known otherwise": (
        "Out 6000", added(pay("p1", 9000)), "Payment p1 is already known with other content (R8)",
        "conflicting_duplicate", {"value": 9000},
    ),
    "a change that is known otherwise": (
        "Out 6000; change -1500 +500 as c2", change("c2", 1500, 600),
        "Change c2 is already known with 15.00 off and 5.00 on (R8)", "conflicting_duplicate",
        {"discountValue": 1500, "incrementValue": 600},
    ),
    "an invoice that is known otherwise": (
        "Out 6000", with_value(out("1", 1), 7000), "Invoice 1 is already known as Output of 60.00 (R8)",
        "conflicting_duplicate", {"value": 7000, "type": "Output", "currency": None},
    ),
    "a return that is known otherwise": (
        "Out 6000; return 500", out("r1", 500), "Invoice r1 is already known as Input of 5.00 (R8)",
        "conflicting_duplicate", {"value": 500, "type": "Output", "currency": None},
    ),
    "an invoice in another currency": (
        "Out 6000", out("2", 100, "EUR"), "Invoice refused: it is in EUR, the order is in USD (R12)", "rejected",
        {"value": 100, "type": "Output", "currency": "EUR"},
    ),
    "a return in another currency": (
        "Out 6000", ret("r1", 100, "EUR"), "Invoice refused: it is in EUR, the order is in USD (R12)", "rejected",
        {"value": 100, "type": "Input", "currency": "EUR"},
    ),
    "an invoice after the cancellation": (
        "cancel", out("1", 100), "Invoice refused: order o1 is canceled (R22)", "rejected",
        {"value": 100, "type": "Output", "currency": None},
    ),
    "a return of more than was sold": (
        "Out 6000; return 4000", ret("r2", 2001),
        "Return refused: 20.01 is more than the 20.00 that can be returned (R18)", "rejected",
        {"value": 2001, "type": "Input", "currency": None},
    ),
    "a change that changes nothing": (
        "Out 6000", change("c1", 500, 500), "Change refused: 5.00 off and on again changes nothing (R14)", "rejected",
        {"discountValue": 500, "incrementValue": 500},
    ),
    "a change that leaves nothing": (
        "pay p2 100", change("c1", 10100, 100),
        "Change refused: 100.00 off would leave nothing of the 100.00 order; that is a cancellation (R14)", "rejected",
        {"discountValue": 10100, "incrementValue": 100},
    ),
    "a change below what is invoiced": (
        "Out 6000", change("c1", 4001),
        "Change refused: 40.01 off would leave the order below the 60.00 already invoiced (R14)", "rejected",
        {"discountValue": 4001, "incrementValue": 0},
    ),
    "a change to more than an amount can be": (
        "Out 6000", change("c1", 0, 2**53 - 10000),
        "Change refused: 90071992547409.92 is more than an amount can be (R14)", "rejected",
        {"discountValue": 0, "incrementValue": 2**53 - 10000},
    ),
    "a change of an order that is invoiced": (
        "hold; Out 10000", change("c1", 500), "Change refused: the order is invoiced (R14)", "rejected",
        {"discountValue": 500, "incrementValue": 0},
    ),
    "a change of an order that is finished": (
        "Out 10000", change("c1", 500), "Change refused: the order is finished (R14)", "rejected",
        {"discountValue": 500, "incrementValue": 0},
    ),
    "a change of an order that is canceled": (
        "cancel", change("c1", 500), "Change refused: the order is canceled (R14)", "rejected",
        {"discountValue": 500, "incrementValue": 0},
    ),
    "tracking of an unknown invoice": (
        "Out 6000", tracking("2", courier="c"), "Tracking refused: 2 is not an accepted invoice (R11)", "rejected", {},
    ),
    "tracking of an invoice that stands alone": (
        "Out 10000; Out 500", tracking("2", courier="c"), "Tracking refused: 2 stands alone (R11)", "rejected", {},
    ),
    "a decision that names nothing": (
        "Out 6000", OutcomeReported(order_id=ORDER, outcome="abandoned", by="Ana", reason="why", at="now"),
        "A decision without a command names an invoice or an automatic settlement to abandon (R39)", "rejected",
        {"value": 0, "commandId": None, "outcome": "abandoned"},
    ),
}  # fmt: skip
KINDS = {
    "OrderAuthorized": "order.rejected", "PaymentAuthorized": "payment.rejected", "OrderChanged": "change.rejected",
    "InvoiceIssued": "invoice.rejected", "TrackingUpdated": "tracking.rejected", "OutcomeReported": "command.suspect",
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_every_refusal_names_its_reason_its_numbers_and_its_rule(name: str) -> None:
    play, fact, sentence, code, numbers = REFUSALS[name]
    scenario = Scenario().play(play)
    before = scenario.amounts()

    decision = scenario.give(fact)

    refusal = decision.refusal
    assert refusal is not None
    assert (decision.fate, refusal.code, refusal.reason) == ("refused", code, sentence)
    assert sentence.endswith(f"({refusal.rule})")
    event = scenario.events[-1]
    state = {"orderValue": before["V"], "invoiced": before["O"], "returned": before["R"], "taken": before["K"]}
    assert (event.type, event.rule, event.reason) == (KINDS[type(fact).__name__], refusal.rule, sentence)
    assert event.numbers == numbers | state
    assert scenario.amounts() == before


def test_a_payment_of_another_order_is_refused_by_name() -> None:
    scenario = Scenario()

    first = scenario.give(added(pay("p9", 500)), foreign_payments=("p9", "p8"))

    assert (first.fate, scenario.refusals[-1].reason) == ("refused", "Payment p9 belongs to another order (R8)")
    assert scenario.event("payment.rejected").cause_id == "p9"


def test_an_order_with_a_payment_of_another_order_is_not_opened() -> None:
    scenario = Scenario(opened=False)

    decision = scenario.judge(order_authorized(pay("p1", 500)), foreign_payments=("p1",))

    assert (decision.fate, decision.order.opened, decision.order.payments) == ("refused", False, [])
    assert scenario.event("order.rejected").reason == "Payment p1 belongs to another order (R8)"


def test_an_automatic_settlement_known_with_other_content_is_refused() -> None:
    scenario = Scenario().play("auto 3000 as g1; auto 3100 as g1")

    assert scenario.refused == ["conflicting_duplicate R8"]
    event = scenario.event("payment.rejected")
    assert event.reason == "Automatic settlement g1 was already reported with 30.00 (R8)"
    assert (event.numbers["value"], event.cause_kind, event.cause_id) == (3100, "surplus", "g1")


def test_a_refused_cancellation_says_what_to_do_instead() -> None:
    scenario = Scenario().play("Out 6000; cancel")

    event = scenario.event("cancel.rejected")
    assert event.reason == "Cancellation refused: 60.00 is already invoiced; change the order instead (R23)"
    assert (event.cause_kind, event.cause_id) == ("cancel", ORDER)


@pytest.mark.parametrize("outcome", ["succeeded", "resolved", "suspect"])
def test_an_outcome_that_contradicts_the_ledger_is_suspect_and_not_booked(outcome: Any) -> None:
    scenario = Scenario().script("settle", "declined").play("Out 6000")
    first = scenario.issued[0]

    decision = scenario.judge(scenario.outcome(outcome, first, value=6000, operation_id="late"))

    expected = f"Command {first.command_id} already ended as declined (R32)"
    assert decision.fate == "refused"
    assert (scenario.refusals[-1].code, scenario.refusals[-1].rule, scenario.refusals[-1].reason) == (
        "suspect",
        "R32",
        expected,
    )
    event = scenario.event("command.suspect")
    assert (event.rule, event.reason, event.cause_id) == ("R32", expected, "1")
    assert event.numbers == {"commandId": first.command_id, "value": 6000, "outcome": outcome}


def test_an_outcome_of_a_command_that_was_never_issued_is_suspect() -> None:
    scenario = Scenario().play("Out 6000")

    scenario.judge(OutcomeReported(order_id=ORDER, outcome="succeeded", command_id="nobody", value=5))

    assert scenario.refusals[-1].reason == "No command nobody was ever issued for this order (R32)"
    assert (scenario.event("command.suspect").cause_kind, scenario.event("command.suspect").cause_id) == (
        "order",
        ORDER,
    )


def test_a_resolution_above_what_can_have_been_done_is_refused_with_the_limit() -> None:
    scenario = Scenario().play("hold; Out 6000; manual settle 6000")

    scenario.operator("resolved", scenario.issued[0], value=10001)

    assert scenario.refusals[-1].reason == (
        "Resolution refused: 100.01 is above the 100.00 that can have been done (R39)"
    )
