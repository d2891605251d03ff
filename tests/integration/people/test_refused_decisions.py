"""Decisions that the ledger rules out are refused when they are typed, and nothing is stored."""

import re

import pytest

from tests.integration.ledger.harness import NOON_MS, LedgerHarness, authorized, invoice, outcome, payment
from tests.integration.people.ledger_on_kafka import LedgerOnKafka
from tests.integration.people.undecided import ANA, declined_settle, lapsed_amount, manual_settle, take_over
from worker.kafka import names
from worker.people import commands
from worker.people.acting import Actor, Refused

SIGNED = ("--by", "ana", "--reason", "limit was raised")
AUTOMATIC = {"orderId": "o1", "paymentId": "o1.p1", "settleId": "auto", "value": 4_000}
FITTING, MISFIT = AUTOMATIC, AUTOMATIC | {"settleId": "above", "value": 9_000}


async def assert_nothing_is_stored(ledger: LedgerHarness) -> None:
    assert await ledger.value("SELECT count(*) FROM delivery.decisions") == 0
    assert await ledger.value("SELECT count(*) FROM people.acts") == 0


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        (("--invoice", "77"), "order o1 has no lapsed amount of invoice 77 that could be given up"),
        (("--invoice", "17"), "order o1 has no lapsed amount of invoice 17 that could be given up"),
        (("--settle-id", "NOPE"), "order o1 has no suspect automatic settlement NOPE that could be given up"),
        (("--settle-id", "auto"), "order o1 has no suspect automatic settlement auto that could be given up"),
    ],
)
async def test_an_amount_that_is_neither_lapsed_nor_suspect_cannot_be_abandoned(
    ledger_on_kafka: LedgerOnKafka, named: tuple[str, str], sentence: str
):
    """A declined one and one that the gateway settled correctly are refused too."""
    await ledger_on_kafka.apply("order.authorized", authorized("o1"))
    await ledger_on_kafka.apply("payment.auto_settled", FITTING)
    await ledger_on_kafka.apply("invoice.issued", invoice("o1", "17", 6_000))
    await ledger_on_kafka.apply(
        "command.declined", outcome(ledger_on_kafka.published(names.COMMANDS)[-1], value=0, code="51")
    )

    error = await ledger_on_kafka.settlement("commands", "abandon", "--order", "o1", *named, *SIGNED, code=1)

    assert error == f"settlement: {sentence}\n"
    await assert_nothing_is_stored(ledger_on_kafka)


async def test_nothing_of_an_unopened_order_can_be_abandoned(ledger: LedgerHarness):
    await ledger.apply("invoice.issued", invoice("o1", "17", 6_000))

    with pytest.raises(Refused, match="order o1 has no lapsed amount of invoice 17"):
        await commands.abandon_amount(ledger.connection, ANA, "o1", invoice="17")

    await assert_nothing_is_stored(ledger)


async def test_an_automatic_settlement_that_does_not_fit_can_be_abandoned(ledger: LedgerHarness):
    await ledger.apply("order.authorized", authorized("o1"))
    await ledger.apply("payment.auto_settled", FITTING)
    await ledger.apply("payment.auto_settled", MISFIT)

    await commands.abandon_amount(ledger.connection, ANA, "o1", settle_id="above")

    assert await ledger.rows("SELECT action, settle_id FROM delivery.decisions") == [("abandon", "above")]


async def test_repeating_an_applied_abandon_is_no_error_but_another_operators_is_refused(
    ledger_on_kafka: LedgerOnKafka,
):
    await lapsed_amount(ledger_on_kafka)
    abandon = ("commands", "abandon", "--order", "o1", "--invoice", "17")
    assert await ledger_on_kafka.settlement(*abandon, *SIGNED) == "noted; it is given up\n"
    abandoned = {"orderId": "o1", "invoiceNumber": "17", "value": 0, "by": "ana", "reason": "r", "attempts": 0,
            "at": "2026-01-15T13:00:01Z"}  # fmt: skip
    await ledger_on_kafka.apply("command.abandoned", abandoned)
    assert ledger_on_kafka.state("o1")["attention"] == []

    assert await ledger_on_kafka.settlement(*abandon, *SIGNED) == "noted; it is given up\n"
    await ledger_on_kafka.connection.execute("UPDATE delivery.decisions SET applied_at = now()")
    assert "nothing new: you decided the same" in await ledger_on_kafka.settlement(*abandon, *SIGNED)
    error = await ledger_on_kafka.settlement(*abandon, "--by", "ben", "--reason", "paid in cash", code=1)

    assert error == "settlement: order o1 has no lapsed amount of invoice 17 that could be given up\n"
    assert await ledger_on_kafka.value("SELECT count(*) FROM delivery.decisions") == 1
    assert await ledger_on_kafka.value("SELECT count(*) FROM people.acts") == 1


async def test_resolving_with_more_than_is_possible_is_refused_with_the_maximum(ledger_on_kafka: LedgerOnKafka):
    command_id = await manual_settle(ledger_on_kafka)
    resolve = ("commands", "resolve", command_id, "--operation-id", "by hand", *SIGNED, "--done")

    for done, major in ((999_999_999, "9999999.99"), (10_001, "100.01")):
        assert await ledger_on_kafka.settlement(*resolve, str(done), code=1) == (
            f"settlement: {major} USD is above the 100.00 USD that can have been done, which is 10000 in minor units\n"
        )
    await assert_nothing_is_stored(ledger_on_kafka)

    assert await ledger_on_kafka.settlement(*resolve, "10000") == (
        "noted: 100.00 USD booked as done, 40.00 more than asked\n"
    )


async def test_a_declined_command_whose_retry_succeeded_can_be_neither_retried_nor_abandoned(ledger: LedgerHarness):
    command_id = await declined_settle(ledger)
    assert (await commands.read_page(ledger.connection, command_id)).acts == ("retry", "abandon")
    await ledger.apply("command.retried", outcome(ledger.published(names.COMMANDS)[-1], value=0, by="ana", reason="r"))
    await ledger.succeed()

    assert (await commands.read_page(ledger.connection, command_id)).acts == ()
    for decide in (commands.retry, commands.abandon):
        with pytest.raises(Refused, match="the command is declined, and nothing of it is missing any more"):
            await decide(ledger.connection, ANA, command_id)
    await assert_nothing_is_stored(ledger)


async def test_a_declined_command_cannot_be_retried_after_its_authorization_has_expired(
    ledger_on_kafka: LedgerOnKafka,
):
    """A retry typed before that may be repeated, and an abandon is still accepted."""
    order = authorized("o1") | {"payments": [payment("o1.p1", expiresAt="2026-01-15T13:00:00Z")]}
    await ledger_on_kafka.apply("order.authorized", order)
    await ledger_on_kafka.apply("invoice.issued", invoice("o1", "17", 6_000))
    command_id = await take_over(ledger_on_kafka, "declined")
    await ledger_on_kafka.apply(
        "command.declined", outcome(ledger_on_kafka.published(names.COMMANDS)[-1], value=0, code="51")
    )
    retry = ("commands", "retry", command_id)
    assert "noted" in await ledger_on_kafka.settlement(*retry, *SIGNED)
    ledger_on_kafka.now_ms = NOON_MS + 3_600_001
    await ledger_on_kafka.cycle()

    assert "noted" in await ledger_on_kafka.settlement(*retry, *SIGNED)
    error = await ledger_on_kafka.settlement(*retry, "--by", "ben", "--reason", "try once more", code=1)

    assert error == (
        "settlement: the authorization of payment o1.p1 has expired, and no other payment takes over what it failed to "
        "capture: abandon it, unless the gateway captures by itself\n"
    )
    assert await ledger_on_kafka.rows("SELECT decided_by FROM delivery.decisions") == [("ana",)]
    assert "noted" in await ledger_on_kafka.settlement("commands", "abandon", command_id, *SIGNED)


async def test_a_settle_cannot_be_resolved_under_the_id_of_another_settlement(ledger_on_kafka: LedgerOnKafka):
    """The id of an automatic settlement is accepted: it may be the same capture."""
    await ledger_on_kafka.apply("order.authorized", authorized("o1"))
    await ledger_on_kafka.apply("invoice.issued", invoice("o1", "16", 1_000))
    await ledger_on_kafka.succeed(operationId="S-1")
    await ledger_on_kafka.apply("payment.auto_settled", FITTING | {"value": 2_000})
    await ledger_on_kafka.apply("invoice.issued", invoice("o1", "17", 8_000))
    command_id = await take_over(ledger_on_kafka, "unknown")
    resolve = ("commands", "resolve", command_id, "--done", "2000", *SIGNED, "--operation-id")

    assert await ledger_on_kafka.settlement(*resolve, "S-1", code=1) == (
        "settlement: settle id S-1 is another settlement's of payment o1.p1: two settles are never closed under one\n"
    )
    await assert_nothing_is_stored(ledger_on_kafka)

    assert (await ledger_on_kafka.settlement(*resolve, "auto")).startswith("noted: 20.00 of 60.00 USD booked as done;")


async def test_a_repeated_resolve_is_no_error_even_after_the_ledger_has_moved_on(ledger: LedgerHarness):
    command_id = await manual_settle(ledger)
    await commands.resolve(ledger.connection, ANA, command_id, done=10_000, operation_id="by hand")
    await ledger.apply("payment.auto_settled", FITTING)

    assert await commands.resolve(ledger.connection, ANA, command_id, done=10_000, operation_id="by hand") is None
    with pytest.raises(Refused, match=re.escape("100.00 USD is above the 60.00 USD that can have been done")):
        await commands.resolve(ledger.connection, Actor("ben", "r"), command_id, done=10_000, operation_id="by hand")

    assert await ledger.value("SELECT count(*) FROM delivery.decisions") == 1
