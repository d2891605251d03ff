"""Worked examples E1–E31: the play, the requests to connectors, and the order at the end."""

from collections.abc import Callable
from typing import NamedTuple

import pytest

from tests.unit.domain.scenario import Scenario, pay


class Example(NamedTuple):
    name: str
    facts: str
    commands: str
    end: str
    scenario: str = "PARTIAL"


SCENARIOS: dict[str, Callable[[], Scenario]] = {
    "PARTIAL": Scenario,
    "TOTAL": lambda: Scenario(by="total"),
    "HOLD": lambda: Scenario(by="hold"),
    "a, b": lambda: Scenario(pay("a", 7000), pay("b", 3000)),
    "HOLD a, b": lambda: Scenario(pay("a", 7000, by="hold"), pay("b", 3000, by="hold")),
    "max 12000": lambda: Scenario(pay("p1", 10000, cap=12000)),
    "value 10800 of 10000": lambda: Scenario(pay("p1", 10800, reference=10000)),
}

EXAMPLES = [
    Example("E1", "Out 6000; Out 4000", "settle 6000, settle 4000", "S 10000, finished"),
    Example("E2", "Out 6000; discount 1500; Out 2500", "settle 6000, cancel 1500, settle 2500",
            "V 8500, S 8500, C 1500, finished"),
    Example("E3", "Out 6000; discount 4000", "settle 6000, cancel 4000", "V 6000, O 6000, S 6000, C 4000, finished"),
    Example("E4", "Out 6000; discount 4001", "settle 6000", "V 10000, open 4000, still open"),
    Example("E5", "auto 10000; discount 1500; Out 8500", "refund 1500", "V 8500, S 10000, F 1500, finished"),
    Example("E6", "Out 7000; Out 5000; Out 1000", "settle 7000, settle 3000", "S 10000, O 10000, finished"),
    Example("E7", "Out 6000 as 1; Out 6000 as 1; Out 6000 as 1; Out 7000 as 1", "settle 6000",
            "O 6000, S 6000, open 4000, still open"),
    Example("E8", "cancel; Out 1000", "cancel 10000", "S 0, C 10000, canceled"),
    Example("E9", "Out 6000; cancel", "settle 6000", "S 6000, C 0, open 4000, still open"),
    Example("E10", "Out 2000; Out 8000", "settle 10000", "S 10000, finished", "TOTAL"),
    Example("E11", "Out 2000; Out 8000", "settle 10000", "S 10000, finished", "HOLD"),
    Example("E12", "hold; Out 6000; ok settle 6000", "settle 6000", "S 6000, P 0, still open"),
    Example("E13", "auto 10000; discount 1500; Out 8500; return 8500", "refund 1500, refund 8500",
            "V 8500, S 10000, F 10000, R 8500, finished"),
    Example("E14", "Out 6000; auto 3500; discount 1000; Out 3000", "settle 6000, cancel 500, refund 500",
            "V 9000, S 9500, C 500, F 500, finished"),
    Example("E15", "increase 1500; discount 1500; Out 10000", "settle 10000", "S 10000, C 0, finished"),
    Example("E16", "change -1500 +1000; Out 9500", "cancel 500, settle 9500", "V 9500, S 9500, C 500, finished"),
    Example("E17", "auto 10000; discount 1500; increase 1500; Out 10000", "refund 1500",
            "V 10000, S 10000, F 1500, waits 1500, invoiced"),
    Example("E18", "Out 6000; discount 1500; increase 3000; Out 5500", "settle 6000, cancel 1500, settle 4500",
            "V 11500, S 10500, C 1500, waits 1000, open 0, invoiced", "max 12000"),
    Example("E19", "Out 5000; discount 1500; Out 3500; return 4000",
            "b settle 3000, a settle 2000, a cancel 1500, a settle 3500, b refund 3000, a refund 1000",
            "V 8500, S 8500, C 1500, F 4000, finished", "a, b"),
    Example("E20", "Out 5000; return 2500", "b settle 3000, a settle 2000, a refund 2000, b refund 500",
            "S 5000, F 2500, open 5000, still open", "a, b"),
    Example("E21", "discount 2000; Out 3000; Out 5000", "settle 8000", "V 8000, S 8000, C 2000, finished", "TOTAL"),
    Example("E22", "Out 2000; discount 1500; Out 6500", "settle 10000, refund 1500",
            "V 8500, S 10000, F 1500, C 0, finished", "TOTAL"),
    Example("E23", "discount 2000; cancel", "cancel 10000", "S 0, C 10000, canceled", "TOTAL"),
    Example("E24", "Out 6000; discount 4000", "settle 6000", "V 6000, S 6000, C 4000, finished", "HOLD"),
    Example("E25", "discount 1500; Out 8500", "b settle 1500, a settle 7000", "V 8500, S 8500, C 1500, finished",
            "HOLD a, b"),
    Example("E26", "Out 3333; Out 3333; Out 3334", "settle 3600, settle 3599, settle 3601",
            "V 10000, O 10000, S 10800, K 10000, finished", "value 10800 of 10000"),
    Example("E27", "hold; Out 6000; suspect settle 6000", "settle 6000", "S 0, P 6000, open 4000, attention"),
    Example("E28", "hold; Out 6000; declined settle 6000; go; Out 4000; retry settle 6000",
            "settle 6000, settle 4000, settle 6000", "S 10000, C 0, finished"),
    Example("E29", "hold; Out 6000; auto 10000; declined settle 6000; go; Out 4000", "settle 6000",
            "S 10000, C 0, finished"),
    Example("E30", "hold; cancel; auto 10000; declined cancel 10000; go", "cancel 10000, refund 10000",
            "S 10000, F 10000, C 0, canceled"),
    Example("E31", "hold; Out 6000; short 4500 settle 6000; go; Out 4000; retry settle 6000",
            "settle 6000, settle 4000, settle 1500", "S 10000, C 0, finished"),
]  # fmt: skip


@pytest.mark.parametrize("example", EXAMPLES, ids=[one.name for one in EXAMPLES])
def test_worked_example(example: Example) -> None:
    scenario = SCENARIOS[example.scenario]()

    scenario.play(example.facts)

    several = len(scenario.order.payments) > 1
    requests = ", ".join(
        (f"{one.payment_id} " if several else "") + f"{one.operation} {one.value}" for one in scenario.issued
    )
    assert requests == example.commands
    scenario.shows(example.end)


def test_e4_refuses_the_change_with_its_rule_and_numbers() -> None:
    scenario = Scenario().play("Out 6000; discount 4001")

    assert scenario.refused == ["rejected R14"]
    assert {10000, 6000} & set(scenario.event("change.rejected").numbers.values())


def test_e6_reports_the_excess_and_stores_the_third_invoice_as_standalone() -> None:
    scenario = Scenario().play("Out 7000; Out 5000; Out 1000")

    assert [one.numbers.get("excess") for one in scenario.events if one.type == "invoice.accepted"][-1] == 2000
    assert [(one["invoiceNumber"], one["excess"], one["status"]) for one in scenario.state["invoices"]] == [
        ("1", 0, "settled"), ("2", 2000, "settled"), ("3", 0, "standalone"),
    ]  # fmt: skip


def test_e7_dead_letters_only_the_conflict() -> None:
    scenario = Scenario().play("Out 6000 as 1; Out 6000 as 1; Out 6000 as 1; Out 7000 as 1")

    assert scenario.refused == ["conflicting_duplicate R8"]
    assert scenario.fates["duplicate"] == 2
    assert scenario.event("invoice.rejected").rule == "R8"


def test_e8_rejects_the_invoice_by_the_rule_of_cancellation() -> None:
    assert Scenario().play("cancel; Out 1000").refused == ["rejected R22"]


def test_e9_refuses_the_cancellation() -> None:
    assert Scenario().play("Out 6000; cancel").refused == ["rejected R23"]


def test_e10_settles_with_the_first_invoice_and_e11_only_with_the_last() -> None:
    assert Scenario(by="total").play("Out 2000").commands == "settle 10000"
    assert Scenario(by="hold").play("Out 2000").commands == ""


def test_e17_and_e18_name_the_missing_authorization() -> None:
    first = Scenario().play("auto 10000; discount 1500; increase 1500")
    second = Scenario(pay("p1", 10000, cap=12000)).play("Out 6000; discount 1500; increase 3000")

    assert 1500 in first.event("authorization.needed").numbers.values()
    assert 1000 in second.event("authorization.needed").numbers.values()


def test_e28_retries_with_a_new_id_that_names_the_old_command() -> None:
    scenario = Scenario().play("hold; Out 6000; declined settle 6000; go; Out 4000; retry settle 6000")

    first, _, again = scenario.issued
    assert again.retry_of == first.command_id
    assert again.request_id != first.request_id
    assert (again.cause_kind, again.cause_id) == (first.cause_kind, first.cause_id)
