"""What the books know cannot be is refused where it is typed: nothing is noted, and nothing is told."""

import re

import pytest

from tests.integration.ledger.harness import NOON_MS, LedgerHarness, authorized, invoice, outcome, payment
from tests.integration.people.ledger_on_kafka import LedgerOnKafka
from tests.integration.people.test_decisions import ANA, declined_settle, lapsed_amount, taken_over
from worker.kafka import names
from worker.people import commands
from worker.people.acting import Actor, Refused

SIGNED = ("--by", "ana", "--reason", "limit was raised")
AUTOMATIC = {"orderId": "o1", "paymentId": "o1.p1", "settleId": "auto", "value": 4_000}
FITS, DOES_NOT = AUTOMATIC, AUTOMATIC | {"settleId": "above", "value": 9_000}


async def nothing_was_noted(ledger: LedgerHarness) -> None:
    assert await ledger.value("SELECT count(*) FROM delivery.decisions") == 0
    assert await ledger.value("SELECT count(*) FROM people.acts") == 0


async def open_settle(ledger: LedgerHarness, state: str = "manual") -> str:
    """60.00 of 100.00 that wait for a person, in both workers."""
    await ledger.apply("order.authorized", authorized("o1"))
    await ledger.apply("invoice.issued", invoice("o1", "17", 6_000))
    command_id = await taken_over(ledger, state)
    await ledger.apply(f"command.{state}", outcome(ledger.of(names.COMMANDS)[-1], value=0, code="501"))
    return command_id


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        (("--invoice", "77"), "order o1 has no lapsed amount of invoice 77 that could be given up"),
        (("--invoice", "17"), "order o1 has no lapsed amount of invoice 17 that could be given up"),
        (("--settle-id", "NOPE"), "order o1 has no suspect automatic settlement NOPE that could be given up"),
        (("--settle-id", "auto"), "order o1 has no suspect automatic settlement auto that could be given up"),
    ],
)
async def test_an_amount_that_neither_lapsed_nor_is_in_doubt_is_not_given_up(
    ledger_on_kafka: LedgerOnKafka, named: tuple[str, str], sentence: str
):
    """Nor one that was declined, or that the gateway settled in good order."""
    await ledger_on_kafka.apply("order.authorized", authorized("o1"))
    await ledger_on_kafka.apply("payment.auto_settled", FITS)
    await ledger_on_kafka.apply("invoice.issued", invoice("o1", "17", 6_000))
    await ledger_on_kafka.apply("command.declined", outcome(ledger_on_kafka.of(names.COMMANDS)[-1], value=0, code="51"))

    said = await ledger_on_kafka.settlement("commands", "abandon", "--order", "o1", *named, *SIGNED, code=1)

    assert said == f"settlement: {sentence}\n"
    await nothing_was_noted(ledger_on_kafka)


async def test_nothing_is_given_up_of_an_order_that_only_waits_to_be_opened(ledger: LedgerHarness):
    await ledger.apply("invoice.issued", invoice("o1", "17", 6_000))

    with pytest.raises(Refused, match="order o1 has no lapsed amount of invoice 17"):
        await commands.abandon_amount(ledger.connection, ANA, "o1", invoice="17")

    await nothing_was_noted(ledger)


async def test_an_automatic_settlement_that_does_not_fit_is_given_up(ledger: LedgerHarness):
    await ledger.apply("order.authorized", authorized("o1"))
    await ledger.apply("payment.auto_settled", FITS)
    await ledger.apply("payment.auto_settled", DOES_NOT)

    await commands.abandon_amount(ledger.connection, ANA, "o1", settle_id="above")

    assert await ledger.rows("SELECT action, settle_id FROM delivery.decisions") == [("abandon", "above")]


async def test_giving_up_the_same_again_after_the_books_have_done_it_is_no_error_and_nobody_else_can(
    ledger_on_kafka: LedgerOnKafka,
):
    await lapsed_amount(ledger_on_kafka)
    give_up = ("commands", "abandon", "--order", "o1", "--invoice", "17")
    assert await ledger_on_kafka.settlement(*give_up, *SIGNED) == "noted; it is given up\n"
    told = {"orderId": "o1", "invoiceNumber": "17", "value": 0, "by": "ana", "reason": "r", "attempts": 0,
            "at": "2026-01-15T13:00:01Z"}  # fmt: skip
    await ledger_on_kafka.apply("command.abandoned", told)
    assert ledger_on_kafka.state("o1")["attention"] == []

    assert await ledger_on_kafka.settlement(*give_up, *SIGNED) == "noted; it is given up\n"
    await ledger_on_kafka.connection.execute("UPDATE delivery.decisions SET applied_at = now()")
    assert "nothing new: you decided the same" in await ledger_on_kafka.settlement(*give_up, *SIGNED)
    said = await ledger_on_kafka.settlement(*give_up, "--by", "ben", "--reason", "paid in cash", code=1)

    assert said == "settlement: order o1 has no lapsed amount of invoice 17 that could be given up\n"
    assert await ledger_on_kafka.value("SELECT count(*) FROM delivery.decisions") == 1
    assert await ledger_on_kafka.value("SELECT count(*) FROM people.acts") == 1


async def test_more_than_can_have_been_done_is_refused_with_the_most_that_can(ledger_on_kafka: LedgerOnKafka):
    command_id = await open_settle(ledger_on_kafka)
    resolve = ("commands", "resolve", command_id, "--operation-id", "by hand", *SIGNED, "--done")

    for done, major in ((999_999_999, "9999999.99"), (10_001, "100.01")):
        assert await ledger_on_kafka.settlement(*resolve, str(done), code=1) == (
            f"settlement: {major} USD is above the 100.00 USD that can have been done, which is 10000 in minor units\n"
        )
    await nothing_was_noted(ledger_on_kafka)

    assert await ledger_on_kafka.settlement(*resolve, "10000") == (
        "noted: 100.00 USD booked as done, 40.00 more than asked\n"
    )


async def test_what_was_declined_and_asked_anew_is_neither_asked_once_more_nor_given_up(ledger: LedgerHarness):
    command_id = await declined_settle(ledger)
    assert (await commands.read_page(ledger.connection, command_id)).acts == ("retry", "abandon")
    await ledger.apply("command.retried", outcome(ledger.of(names.COMMANDS)[-1], value=0, by="ana", reason="r"))
    await ledger.succeed()

    assert (await commands.read_page(ledger.connection, command_id)).acts == ()
    for decide in (commands.retry, commands.abandon):
        with pytest.raises(Refused, match="the command is declined, and nothing of it is missing any more"):
            await decide(ledger.connection, ANA, command_id)
    await nothing_was_noted(ledger)


async def test_what_was_declined_is_not_asked_again_once_its_authorization_has_expired(
    ledger_on_kafka: LedgerOnKafka,
):
    """Whoever typed it before that hears what became of it; an abandon is still taken."""
    order = authorized("o1") | {"payments": [payment("o1.p1", expiresAt="2026-01-15T13:00:00Z")]}
    await ledger_on_kafka.apply("order.authorized", order)
    await ledger_on_kafka.apply("invoice.issued", invoice("o1", "17", 6_000))
    command_id = await taken_over(ledger_on_kafka, "declined")
    await ledger_on_kafka.apply("command.declined", outcome(ledger_on_kafka.of(names.COMMANDS)[-1], value=0, code="51"))
    retry = ("commands", "retry", command_id)
    assert "noted" in await ledger_on_kafka.settlement(*retry, *SIGNED)
    ledger_on_kafka.now_ms = NOON_MS + 3_600_001
    await ledger_on_kafka.cycle()

    assert "noted" in await ledger_on_kafka.settlement(*retry, *SIGNED)
    said = await ledger_on_kafka.settlement(*retry, "--by", "ben", "--reason", "try once more", code=1)

    assert said == (
        "settlement: the authorization of payment o1.p1 has expired, and no other payment takes over what it failed to "
        "capture: abandon it, unless the gateway captures by itself\n"
    )
    assert await ledger_on_kafka.rows("SELECT decided_by FROM delivery.decisions") == [("ana",)]
    assert "noted" in await ledger_on_kafka.settlement("commands", "abandon", command_id, *SIGNED)


async def test_a_settle_is_not_done_under_the_id_of_another_settlement(ledger_on_kafka: LedgerOnKafka):
    """The gateway's own may turn out to be this one."""
    await ledger_on_kafka.apply("order.authorized", authorized("o1"))
    await ledger_on_kafka.apply("invoice.issued", invoice("o1", "16", 1_000))
    await ledger_on_kafka.succeed(operationId="S-1")
    await ledger_on_kafka.apply("payment.auto_settled", FITS | {"value": 2_000})
    await ledger_on_kafka.apply("invoice.issued", invoice("o1", "17", 8_000))
    command_id = await taken_over(ledger_on_kafka, "unknown")
    resolve = ("commands", "resolve", command_id, "--done", "2000", *SIGNED, "--operation-id")

    assert await ledger_on_kafka.settlement(*resolve, "S-1", code=1) == (
        "settlement: settle id S-1 is another settlement's of payment o1.p1: two settles are never closed under one\n"
    )
    await nothing_was_noted(ledger_on_kafka)

    assert (await ledger_on_kafka.settlement(*resolve, "auto")).startswith("noted: 20.00 of 60.00 USD booked as done;")


async def test_resolving_the_same_again_is_no_error_also_where_the_books_have_moved_on(ledger: LedgerHarness):
    command_id = await open_settle(ledger)
    await commands.resolve(ledger.connection, ANA, command_id, done=10_000, operation_id="by hand")
    await ledger.apply("payment.auto_settled", FITS)

    assert await commands.resolve(ledger.connection, ANA, command_id, done=10_000, operation_id="by hand") is None
    with pytest.raises(Refused, match=re.escape("100.00 USD is above the 60.00 USD that can have been done")):
        await commands.resolve(ledger.connection, Actor("ben", "r"), command_id, done=10_000, operation_id="by hand")

    assert await ledger.value("SELECT count(*) FROM delivery.decisions") == 1
