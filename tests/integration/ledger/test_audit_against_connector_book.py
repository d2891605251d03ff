"""The audit against a connector's own book: all differences are reported, except commands in flight."""

import pytest

from tests.integration.ledger.harness import LedgerHarness, authorized, invoice
from worker.connector.book import Effect
from worker.kafka import names
from worker.ledger.comparing import compare


def effect(operation: str, value: int, request: str, payment: str = "o1.p1") -> Effect:
    return Effect(operation, payment, request, value)


async def capture(ledger: LedgerHarness) -> str:
    """Captures 6000 of an order of 10000; the request id."""
    await ledger.apply("order.authorized", authorized("o1"))
    await ledger.apply("invoice.issued", invoice("o1", "1", 6_000))
    await ledger.succeed()
    return str(ledger.published(names.COMMANDS)[-1]["requestId"])


async def differences(ledger: LedgerHarness, *effects: Effect) -> list[str]:
    async with ledger.connection.transaction():
        return (await compare(ledger.connection, "c1", effects)).differences


async def test_an_equal_book_has_no_differences(ledger: LedgerHarness):
    request = await capture(ledger)

    assert await differences(ledger, effect("settle", 6_000, request)) == []


@pytest.mark.parametrize("value", [5_999, 6_001])
async def test_a_difference_of_one_cent_is_reported(ledger: LedgerHarness, value: int):
    request = await capture(ledger)

    (difference,) = await differences(ledger, effect("settle", value, request))

    assert difference == f"payment o1.p1: the connector settled {value}, the ledger says 6000"


async def test_a_command_in_flight_may_be_in_the_book_or_not(ledger: LedgerHarness):
    request = await capture(ledger)
    await ledger.apply("invoice.issued", invoice("o1", "2", 1_000))

    assert await differences(ledger, effect("settle", 6_000, request)) == []
    assert await differences(ledger, effect("settle", 6_000, request), effect("settle", 1_000, "next")) == []
    assert await differences(ledger, effect("settle", 6_000, request), effect("settle", 1_001, "next")) != []


async def test_two_effects_of_one_request_are_reported_although_the_sums_agree(ledger: LedgerHarness):
    await capture(ledger)

    found = await differences(ledger, effect("settle", 3_000, "r"), effect("settle", 3_000, "r"))

    assert found == ["payment o1.p1: 2 effects of the one request r"]


async def test_an_effect_on_an_unknown_payment_is_reported(ledger: LedgerHarness):
    request = await capture(ledger)

    found = await differences(ledger, effect("settle", 6_000, request), effect("settle", 1, "r", "stranger"))

    assert found == ["payment stranger: the connector moved money of it, and the ledger does not know it"]


async def test_a_void_that_is_only_booked_is_not_expected_in_the_book(ledger: LedgerHarness):
    ledger.file.write_text(ledger.file.read_text().replace("PARTIAL", "TOTAL"))
    ledger.handler.reload()
    await ledger.apply("order.authorized", authorized("o1"))
    await ledger.apply("order.changed", {
        "orderId": "o1", "requestId": "c", "reason": "less", "discountValue": 1_000, "incrementValue": 0})  # fmt: skip

    assert await differences(ledger) == []
