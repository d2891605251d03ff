"""R27, R32: the operation id of an automatic settlement belongs to at most one success."""

import pytest

from tests.integration.delivery.harness import DeliveryHarness


async def book_automatic_settlement(delivery: DeliveryHarness, settle_id: str, value: int, refunded: int = 0) -> None:
    """Books an automatic settlement of `p` in the ledger; the connector numbers its effects: settle-1, …"""
    await delivery.connection.execute("INSERT INTO ledger.orders (order_id, partition) VALUES ('o-p', 0)")
    await delivery.connection.execute(
        "INSERT INTO ledger.payments (payment_id, order_id, connector, currency, authorized, cap, settled, settling, "
        "refunded, refunding, voided, voiding, lapsed) "
        "VALUES ('p', 'o-p', 'acme', 'USD', 1000, 1000, $1, 0, $2, 0, 0, 0, false)", value, refunded,
    )  # fmt: skip
    await delivery.connection.execute(
        "INSERT INTO ledger.settlements VALUES ('p', $1, $2, $3, 0, true)", settle_id, value, refunded
    )


@pytest.mark.parametrize(
    ("operation", "settle_id", "value", "refunded"),
    [("settle", "settle-1", 40, 0), ("settle", "settle-1", 100, 100), ("cancel", "cancel-1", 100, 0)],
    ids=["another value", "refunded since", "a cancel"],
)
async def test_a_success_under_the_id_of_another_capture_is_suspect_and_holds_its_payment(
    delivery: DeliveryHarness, operation: str, settle_id: str, value: int, refunded: int
):
    await book_automatic_settlement(delivery, settle_id, value, refunded)
    delivery.send("a", 1, "p", operation=operation)
    delivery.send("b", 2, "p")
    delivery.send("c", 1, "elsewhere")

    await delivery.run_until(("a", "suspect"), ("c", "succeeded"), ("b", "waiting"))

    assert delivery.outcomes() == [("suspect", "a"), ("succeeded", "c")]
    assert await delivery.value("SELECT reason FROM dead_letters") == "suspect"
    assert "b" not in delivery.requested()


async def test_a_settle_with_the_id_and_value_of_an_automatic_settlement_succeeds(delivery: DeliveryHarness):
    await book_automatic_settlement(delivery, "settle-1", 100)
    delivery.send("a", 1, "p")
    delivery.send("b", 2, "p")

    await delivery.run_until(("a", "succeeded"), ("b", "succeeded"))

    assert delivery.outcomes() == [("succeeded", "a"), ("succeeded", "b")]


async def test_an_automatic_settlement_counts_for_one_command_only(delivery: DeliveryHarness):
    await book_automatic_settlement(delivery, "settle-1", 100)
    delivery.send("a", 1, "p")
    await delivery.run_until(("a", "succeeded"))
    delivery.book.effects.clear()  # a connector that restarts its numbering gives the same id again
    delivery.send("b", 2, "p")
    delivery.send("c", 3, "p")

    await delivery.run_until(("b", "suspect"), ("c", "waiting"))

    assert "another command's" in await delivery.value("SELECT message FROM commands WHERE command_id = 'b'")
