"""What became of an authorization is shown in parts that make up the whole."""

from tests.unit.domain.scenario import Scenario, pay
from worker.domain.published import order_state
from worker.people.money import authorization_parts


def parts(scenario: Scenario) -> dict[str, int]:
    found = authorization_parts(order_state(scenario.order)["payments"])
    return {name: value for name, value in found.items() if value}


def test_what_was_captured_and_refunded_counts_as_refunded_only():
    assert parts(Scenario().play("Out 6000; return 1000; hold; return 500; discount 1500")) == {
        "settled": 4500, "refunding": 500, "refunded": 1000, "voiding": 1500, "open": 2500,
    }  # fmt: skip


def test_an_authorization_that_lapsed_is_a_part_of_the_whole_order_beside_one_that_did_not():
    """The bar of the order showed only the other one."""
    scenario = Scenario(pay("p1", 3000, in_hours=48), pay("p2", 7000)).play("Out 1000; wait 49h")

    assert parts(scenario) == {"settled": 1000, "lapsed": 2000, "open": 7000}
