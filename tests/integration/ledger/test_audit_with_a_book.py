"""The ledger beside a connector's own book: what is in flight may stand on either side, everything else is told."""

import pytest

from tests.integration.ledger.harness import LedgerHarness, authorized, invoice
from worker.connector.book import Effect
from worker.kafka import names
from worker.ledger.comparing import compare


def effect(operation: str, value: int, request: str, payment: str = "o1.p1") -> Effect:
    return Effect(operation, payment, request, value)


async def captured(ledger: LedgerHarness) -> str:
    """An order of 10000 of which 6000 are captured; returns the request's id."""
    await ledger.apply("order.authorized", authorized("o1"))
    await ledger.apply("invoice.issued", invoice("o1", "1", 6_000))
    await ledger.succeed()
    return str(ledger.of(names.COMMANDS)[-1]["requestId"])


async def differences(ledger: LedgerHarness, *effects: Effect) -> list[str]:
    async with ledger.connection.transaction():
        return (await compare(ledger.connection, "c1", effects)).differences


async def test_a_book_that_says_the_same_agrees(ledger: LedgerHarness):
    request = await captured(ledger)

    assert await differences(ledger, effect("settle", 6_000, request)) == []


@pytest.mark.parametrize("value", [5_999, 6_001])
async def test_a_cent_is_told(ledger: LedgerHarness, value: int):
    request = await captured(ledger)

    (said,) = await differences(ledger, effect("settle", value, request))

    assert said == f"payment o1.p1: the connector settled {value}, the ledger says 6000"


async def test_what_is_under_way_may_have_happened_or_not(ledger: LedgerHarness):
    request = await captured(ledger)
    await ledger.apply("invoice.issued", invoice("o1", "2", 1_000))

    assert await differences(ledger, effect("settle", 6_000, request)) == []
    assert await differences(ledger, effect("settle", 6_000, request), effect("settle", 1_000, "next")) == []
    assert await differences(ledger, effect("settle", 6_000, request), effect("settle", 1_001, "next")) != []


async def test_two_effects_of_one_request_are_told_although_the_sums_agree(ledger: LedgerHarness):
    await captured(ledger)

    said = await differences(ledger, effect("settle", 3_000, "r"), effect("settle", 3_000, "r"))

    assert said == ["payment o1.p1: 2 effects of the one request r"]


async def test_money_of_a_payment_that_nobody_knows_is_told(ledger: LedgerHarness):
    request = await captured(ledger)

    said = await differences(ledger, effect("settle", 6_000, request), effect("settle", 1, "r", "stranger"))

    assert said == ["payment stranger: the connector moved money of it, and the ledger does not know it"]


async def test_a_void_that_is_only_booked_is_no_business_of_the_connector(ledger: LedgerHarness):
    ledger.file.write_text(ledger.file.read_text().replace("PARTIAL", "TOTAL"))
    ledger.handler.reload()
    await ledger.apply("order.authorized", authorized("o1"))
    await ledger.apply("order.changed", {
        "orderId": "o1", "requestId": "c", "reason": "less", "discountValue": 1_000, "incrementValue": 0})  # fmt: skip

    assert await differences(ledger) == []
