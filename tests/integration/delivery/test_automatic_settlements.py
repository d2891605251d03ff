"""R27, R32: what the gateway captured by itself has an operation id of its own; no other success may have it."""

import pytest

from tests.integration.delivery.world import DeliveryWorld


async def captured(world: DeliveryWorld, settle_id: str, value: int, refunded: int = 0) -> None:
    """The ledger knows an automatic settlement of payment `p`; the connector's ids count its effects: settle-1, …"""
    await world.connection.execute("INSERT INTO ledger.orders (order_id, partition) VALUES ('o-p', 0)")
    await world.connection.execute(
        "INSERT INTO ledger.payments (payment_id, order_id, connector, currency, authorized, cap, settled, settling, "
        "refunded, refunding, voided, voiding, lapsed) "
        "VALUES ('p', 'o-p', 'acme', 'USD', 1000, 1000, $1, 0, $2, 0, 0, 0, false)", value, refunded,
    )  # fmt: skip
    await world.connection.execute(
        "INSERT INTO ledger.settlements VALUES ('p', $1, $2, $3, 0, true)", settle_id, value, refunded
    )


@pytest.mark.parametrize(
    ("operation", "settle_id", "value", "refunded"),
    [("settle", "settle-1", 40, 0), ("settle", "settle-1", 100, 100), ("cancel", "cancel-1", 100, 0)],
    ids=["another value", "refunded meanwhile", "no settle"],
)
async def test_a_success_under_the_id_of_another_capture_is_suspect_and_holds_its_payment(
    world: DeliveryWorld, operation: str, settle_id: str, value: int, refunded: int
):
    await captured(world, settle_id, value, refunded)
    world.take("a", 1, "p", operation=operation)
    world.take("b", 2, "p")
    world.take("c", 1, "elsewhere")

    await world.until(("a", "suspect"), ("c", "succeeded"), ("b", "waiting"))

    assert world.outcomes() == [("suspect", "a"), ("succeeded", "c")]
    assert await world.value("SELECT reason FROM dead_letters") == "suspect"
    assert "b" not in world.asked()


async def test_a_settle_that_returns_exactly_what_the_gateway_captured_is_that_capture(world: DeliveryWorld):
    await captured(world, "settle-1", 100)
    world.take("a", 1, "p")
    world.take("b", 2, "p")

    await world.until(("a", "succeeded"), ("b", "succeeded"))

    assert world.outcomes() == [("succeeded", "a"), ("succeeded", "b")]


async def test_the_capture_is_one_commands_and_not_the_next_ones_too(world: DeliveryWorld):
    await captured(world, "settle-1", 100)
    world.take("a", 1, "p")
    await world.until(("a", "succeeded"))
    world.book.effects.clear()  # a connector that counts anew gives the same id again
    world.take("b", 2, "p")
    world.take("c", 3, "p")

    await world.until(("b", "suspect"), ("c", "waiting"))

    assert "another command's" in await world.value("SELECT message FROM commands WHERE command_id = 'b'")
