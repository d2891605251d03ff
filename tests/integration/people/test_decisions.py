"""Commands that need an operator are listed, and each decision is stored once, with name and reason."""

import json
import random
from datetime import UTC, datetime

import pytest

from tests.integration.ledger.harness import LedgerHarness, authorized, invoice, outcome, payment
from tests.integration.people.ledger_on_kafka import LedgerOnKafka
from tests.integration.people.undecided import (
    ANA,
    declined_settle,
    lapsed_amount,
    manual_settle,
    needs,
    suspect_settle,
    take_over,
    waiting_amount,
)
from worker.kafka import names
from worker.people import commands
from worker.people.acting import REASON_CHARACTERS_MAX, Actor, Refused


@pytest.fixture
async def declined(ledger: LedgerHarness) -> str:
    return await declined_settle(ledger)


async def test_a_declined_command_needs_an_operator_until_the_ledger_has_applied_a_decision(
    ledger: LedgerHarness, declined: str
):
    [need] = await needs(ledger.connection)
    assert (need.need, need.amount, need.currency, need.invoice_number, need.acts) == (
        "failed", 6000, "USD", "17", ("retry", "abandon"),
    )  # fmt: skip

    await commands.abandon(ledger.connection, ANA, declined)
    [need] = await needs(ledger.connection)
    assert need.noted == "abandon"

    await ledger.apply(
        "command.abandoned", outcome(ledger.published(names.COMMANDS)[-1], value=0, by="ana", reason="r")
    )
    assert await needs(ledger.connection) == []


async def test_the_same_decision_typed_twice_is_stored_once(ledger: LedgerHarness, declined: str):
    for _ in range(2):
        await commands.retry(ledger.connection, ANA, declined)

    assert await ledger.value("SELECT count(*) FROM delivery.decisions") == 1
    assert await ledger.rows("SELECT action, decided_by, reason, command_id, order_id FROM people.acts") == [
        ("retry", "ana", "limit was raised", declined, "o1")
    ]


async def test_after_a_command_has_changed_only_a_repeat_of_the_same_decision_is_accepted(
    ledger: LedgerHarness, declined: str
):
    seen = (await commands.read_page(ledger.connection, declined)).command["changes"]
    await commands.retry(ledger.connection, ANA, declined, changes=seen)
    await ledger.connection.execute("UPDATE delivery.commands SET changes = changes + 1")

    await commands.retry(ledger.connection, ANA, declined, changes=seen)
    with pytest.raises(Refused, match="has changed since it was looked at and is declined now: look again"):
        await commands.retry(ledger.connection, Actor("ben", "limit was raised"), declined, changes=seen)

    assert await ledger.rows("SELECT decided_by, changes FROM delivery.decisions") == [("ana", seen)]
    assert await ledger.value("SELECT count(*) FROM people.acts") == 1


async def test_an_impossible_decision_is_refused_with_the_reason(ledger: LedgerHarness, declined: str):
    with pytest.raises(Refused, match="the command is declined; only manual, suspect and unknown ones are resolved"):
        await commands.resolve(ledger.connection, ANA, declined)
    with pytest.raises(Refused, match="has a value and the connector's operation id"):
        await commands.resolve(ledger.connection, ANA, declined, done=6000)
    with pytest.raises(Refused, match="no command nowhere is known"):
        await commands.retry(ledger.connection, ANA, "nowhere")
    with pytest.raises(Refused, match="no order nowhere is known"):
        await commands.abandon_amount(ledger.connection, ANA, "nowhere", invoice="1")

    assert await ledger.value("SELECT count(*) FROM people.acts") == 0


async def test_a_merchants_command_is_found_among_many_of_other_merchants(
    ledger: LedgerHarness, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("worker.people.needs.ORDERS_LOOKED_AT_MAX", 2)
    for number in range(3):
        await manual_settle(ledger, f"o{number}", "large")
    command_id = await manual_settle(ledger, "o3", "small")

    [need] = await needs(ledger.connection, merchant="small")

    assert (need.command_id, need.connector, need.acts) == (command_id, "c1", ("resolve",))


async def test_a_shortened_list_states_the_total_number(
    ledger_on_kafka: LedgerOnKafka, monkeypatch: pytest.MonkeyPatch
):
    for number in range(3):
        await manual_settle(ledger_on_kafka, f"o{number}", "shop")

    text = await ledger_on_kafka.settlement("commands", "list", "--limit", "2")
    as_json = await ledger_on_kafka.settlement("commands", "list", "--limit", "2", "--json")

    assert text.splitlines()[-1].startswith("2 of 3 amounts; --limit shows more; in all 180.00 USD; ")
    listed, _, summary = as_json.partition("\n")
    assert (len(json.loads(listed)), summary) == (2, "2 of 3 amounts; --limit shows more\n")
    assert "\n3 amounts; " in await ledger_on_kafka.settlement("commands", "list")
    assert "\n3 amounts; " in await ledger_on_kafka.settlement("commands", "list", "--connector", "c1")
    for elsewhere in (("--order", "o9"), ("--connector", "c9")):
        assert await ledger_on_kafka.settlement("commands", "list", *elsewhere) == (
            "nothing that matches needs a person\n"
        )

    monkeypatch.setattr("worker.people.needs.ORDERS_LOOKED_AT_MAX", 2)
    assert " or more amounts; --limit" in await ledger_on_kafka.settlement("commands", "list", "--limit", "1")


async def test_beyond_the_limit_the_latest_commands_of_each_need_are_listed(
    ledger: LedgerHarness, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("worker.people.needs.ORDERS_LOOKED_AT_MAX", 2)
    ids = []
    for day, state in enumerate(("suspect", "unknown", "unknown", "unknown"), 1):
        await ledger.apply("order.authorized", authorized(f"o{day}"))
        await ledger.apply("invoice.issued", invoice(f"o{day}", "17", 6000))
        ids.append(await take_over(ledger, state))
        at = datetime(2026, 1, day, tzinfo=UTC)
        await ledger.connection.execute("UPDATE delivery.commands SET ended_at = $2 WHERE command_id = $1", ids[-1], at)

    assert [need.command_id for need in await needs(ledger.connection)] == ids[:1:-1]
    assert [need.command_id for need in await needs(ledger.connection, need="suspect")] == ids[:1]


async def test_an_unknown_command_is_listed_before_the_ledger_has_read_its_outcome(ledger: LedgerHarness):
    await ledger.apply("order.authorized", authorized("o1"))
    await ledger.apply("invoice.issued", invoice("o1", "17", 6000))
    command_id = await take_over(ledger, "unknown")

    [need] = await needs(ledger.connection, need="unknown")

    assert (need.command_id, need.amount, need.merchant, need.acts) == (command_id, 6000, "shop", ("retry", "resolve"))
    assert await needs(ledger.connection, need="manual") == []
    assert await needs(ledger.connection, merchant="another") == []
    page = await commands.read_page(ledger.connection, command_id)
    assert (page.command["currency"], page.command["cause"]) == ("USD", {"kind": "invoice", "id": "17"})


@pytest.mark.parametrize("about", ["a command", "an amount"])
async def test_the_longest_reason_that_fits_is_stored_and_a_longer_one_is_refused(ledger: LedgerHarness, about: str):
    """The reason consists of random three-byte characters, which PostgreSQL cannot compress."""
    named = "17" if about == "an amount" else await declined_settle(ledger)
    if about == "an amount":
        await lapsed_amount(ledger)
    dice = random.Random(5)
    reason = "".join(chr(dice.randrange(0x4E00, 0x9FA5)) for _ in range(REASON_CHARACTERS_MAX))
    size = len("ana" + "o1" + named)
    longest = (commands.DECISION_BYTES_MAX - size) // 3

    async def abandon(reason: str) -> None:
        if about == "a command":
            await commands.abandon(ledger.connection, Actor("ana", reason), named)
        else:
            await commands.abandon_amount(ledger.connection, Actor("ana", reason), "o1", invoice=named)

    with pytest.raises(Refused, match=r"name and reason are [1-3] bytes too long to be kept with this decision"):
        await abandon(reason[: longest + 1])
    with pytest.raises(Refused, match=f"{size + 3_000 - commands.DECISION_BYTES_MAX} bytes too long"):
        await abandon(reason)
    await abandon(reason[:longest])

    assert await ledger.rows("SELECT reason FROM delivery.decisions") == [(reason[:longest],)]


async def test_a_lapsed_amount_is_listed_and_abandoned_by_order_and_invoice(ledger: LedgerHarness):
    await lapsed_amount(ledger)

    [need] = await needs(ledger.connection)
    assert (need.need, need.amount, need.invoice_number, need.acts) == ("lapsed", 6000, "17", ("abandon",))
    for _ in range(2):
        await commands.abandon_amount(ledger.connection, ANA, "o1", invoice="17")

    assert await ledger.rows("SELECT action, order_id, invoice_number FROM delivery.decisions") == [
        ("abandon", "o1", "17")
    ]
    assert await ledger.value("SELECT count(*) FROM people.acts") == 1


async def test_an_amount_beyond_all_authorizations_is_listed_until_another_payment_is_authorized(
    ledger_on_kafka: LedgerOnKafka,
):
    """It was told by an event alone, which is not there any more when somebody looks."""
    await waiting_amount(ledger_on_kafka)

    for wanted in ({}, {"need": "waiting"}, {"order_id": "o1"}, {"merchant": "shop"}):
        [need] = await needs(ledger_on_kafka.connection, **wanted)
        assert (need.need, need.amount, need.currency, need.order_id, need.acts) == ("waiting", 2000, "USD", "o1", ())
    for wanted in ({"need": "lapsed"}, {"order_id": "o2"}, {"merchant": "another"}):
        assert await needs(ledger_on_kafka.connection, **wanted) == []
    text = await ledger_on_kafka.settlement("commands", "list", "--need", "waiting")
    assert text.splitlines()[1].split() == ["waiting", "20.00", "USD", "o1", "another", "authorization"]

    await ledger_on_kafka.apply("payment.authorized", {"orderId": "o1", "payment": payment("o1.p2", value=2000)})
    assert await needs(ledger_on_kafka.connection) == []


async def test_a_decision_is_stored_in_its_orders_partition_despite_the_operators_settings(
    ledger_on_kafka: LedgerOnKafka,
):
    await lapsed_amount(ledger_on_kafka)

    await ledger_on_kafka.settlement("commands", "abandon", "--order", "o1", "--invoice", "17", "--by", "ana",
                                "--reason", "paid in cash", TOPIC_PARTITIONS="1000")  # fmt: skip

    assert await ledger_on_kafka.value("SELECT partition FROM delivery.decisions") == ledger_on_kafka.home("o1")


async def test_resolve_shows_the_booked_amount_in_major_units_and_warns_of_a_smaller_one(
    ledger_on_kafka: LedgerOnKafka,
):
    command_id = await suspect_settle(ledger_on_kafka)
    resolve = ("commands", "resolve", command_id, "--operation-id", "S-1", "--by", "ana", "--reason")

    too_little = await ledger_on_kafka.settlement(*resolve, "seen at the acquirer", "--done", "60")
    whole = await ledger_on_kafka.settlement(*resolve, "looked again", "--done", "6000")

    assert too_little.startswith(
        "noted: 0.60 of 60.00 USD booked as done; 59.40 counts as NOT done: it may be asked for again\n"
        "warning: --done takes minor units, and 60 is 0.60 USD, less than the 60.00 USD asked for (--done 6000)."
    )
    assert whole == "noted: 60.00 of 60.00 USD booked as done\n"


async def test_a_command_is_shown_with_the_connectors_last_answer_and_what_was_decided(ledger_on_kafka: LedgerOnKafka):
    """Whoever resolves it needs the operation id that the connector gave."""
    command_id = await suspect_settle(ledger_on_kafka)
    await ledger_on_kafka.connection.execute(
        "INSERT INTO delivery.attempts (command_id, attempt, epoch, begun_at, ended_at, status, fate, reply)"
        " VALUES ($1, 1, 1, now(), now(), 200, 'suspect', $2)", command_id, '{"settleId": "S-1"}',
    )  # fmt: skip
    resolve = ("commands", "resolve", command_id, "--by", "ana", "--reason", "seen at the acquirer")
    await ledger_on_kafka.settlement(*resolve, "--done", "6000", "--operation-id", "S-1")
    await ledger_on_kafka.settlement(*resolve, "--not-done")

    text = await ledger_on_kafka.settlement("commands", "show", command_id)

    assert 'the last answer: {"settleId": "S-1"}' in text
    noted = "seen at the acquirer (noted; the delivery worker applies it)"
    assert f" ana: resolve as done, 60.00 USD under S-1, {noted}\n" in text
    assert f" ana: resolve as not done, {noted}\n" in text


async def test_resolve_as_not_done_says_that_the_command_failed_and_what_to_do_next(
    ledger_on_kafka: LedgerOnKafka,
):
    command_id = await suspect_settle(ledger_on_kafka)

    text = await ledger_on_kafka.settlement(
        "commands", "resolve", command_id, "--not-done", "--by", "ana", "--reason", "the acquirer never had it"
    )

    assert text == (
        f"noted: 60.00 USD counts as not done, and is failed now; next, `settlement commands retry {command_id}` "
        f"asks for it again, or `… abandon {command_id}` gives it up\n"
    )


@pytest.mark.parametrize("action", ["retry", "abandon"])
async def test_a_repeated_decision_reports_the_result_of_the_first_one(ledger_on_kafka: LedgerOnKafka, action: str):
    about: tuple[str, ...] = ("--order", "o1", "--invoice", "17")
    if action == "retry":
        about, noted = (await declined_settle(ledger_on_kafka),), "asked again"
    else:
        await lapsed_amount(ledger_on_kafka)
        noted = "given up"
    decide = ("commands", action, *about, "--by", "ana", "--reason")
    for _ in range(2):
        assert noted in await ledger_on_kafka.settlement(*decide, "paid in cash"), "it still waits"

    applied = "UPDATE delivery.decisions SET applied_at = '2026-01-15T12:00:00Z', refused = $1"
    for refused, became in ((None, "applied"), ("why", "refused (why)")):
        await ledger_on_kafka.connection.execute(applied, refused)
        assert await ledger_on_kafka.settlement(*decide, "paid in cash") == (
            "nothing new: you decided the same for the same reason before, and at 2026-01-15 12:00:00 UTC it was "
            f"{became}; to decide it anew, give another reason\n"
        )
    assert noted in await ledger_on_kafka.settlement(*decide, "there is more to give up")

    assert await ledger_on_kafka.value("SELECT count(*) FROM delivery.decisions") == 2
    assert await ledger_on_kafka.value("SELECT count(*) FROM people.acts") == 2
