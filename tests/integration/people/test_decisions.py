"""What needs a person is found where the books say so; what a person decides is noted once, with name and reason."""

import json
import random
from datetime import UTC, datetime

import pytest

from tests.integration.ledger.harness import NOON_MS, LedgerHarness, authorized, invoice, outcome, payment
from tests.integration.people.ledger_on_kafka import LedgerOnKafka
from worker.kafka import names
from worker.people import commands
from worker.people.acting import REASON_CHARACTERS_MAX, Actor, Refused
from worker.people.needs import needs

ANA = Actor("ana", "limit was raised")


async def taken_over(ledger: LedgerHarness, state: str, done: int = 0) -> str:
    """The last command as the delivery worker knows it."""
    command = ledger.of(names.COMMANDS)[-1]
    await ledger.connection.execute(
        "INSERT INTO delivery.commands (command_id, partition, order_id, payment_id, sequence, operation, connector,"
        ' value, topic, source_partition, "offset", body, headers, timestamp, due_at, taken_at, state, done)'
        " VALUES ($1, 0, $2, $3, $4, 'settle', 'c1', $5, 'settlement.commands.v1', 0, 1, $6, '[]', now(), now(),"
        " now(), $7, $8)",
        command["commandId"], command["orderId"], command["paymentId"], command["sequence"], command["value"],
        json.dumps(command).encode(), state, done,
    )  # fmt: skip
    return str(command["commandId"])


@pytest.fixture
async def declined(ledger: LedgerHarness) -> str:
    return await declined_settle(ledger)


async def declined_settle(ledger: LedgerHarness) -> str:
    """60.00 for invoice 17, as both workers know it."""
    await ledger.apply("order.authorized", authorized("o1"))
    await ledger.apply("invoice.issued", invoice("o1", "17", 6000))
    command_id = await taken_over(ledger, "declined")
    await ledger.apply("command.declined", outcome(ledger.of(names.COMMANDS)[-1], value=0, code="51"))
    return command_id


async def manual_settle(ledger: LedgerHarness, order_id: str, merchant: str) -> str:
    """60.00 that somebody does by hand, as both workers know it."""
    await ledger.apply("order.authorized", authorized(order_id) | {"merchant": merchant})
    await ledger.apply("invoice.issued", invoice(order_id, "17", 6000))
    command_id = await taken_over(ledger, "manual")
    await ledger.apply("command.manual", outcome(ledger.of(names.COMMANDS)[-1], value=0))
    return command_id


async def lapsed_amount(ledger: LedgerHarness) -> None:
    """60.00 of invoice 17 for which the authorization lapsed."""
    order = authorized("o1") | {"payments": [payment("o1.p1", expiresAt="2026-01-15T13:00:00Z")]}
    await ledger.apply("order.authorized", order)
    ledger.now_ms = NOON_MS + 3_600_001
    await ledger.cycle()
    await ledger.apply("invoice.issued", invoice("o1", "17", 6000))


async def test_a_declined_command_needs_a_person_until_somebody_decided_and_the_ledger_has_heard(
    ledger: LedgerHarness, declined: str
):
    [one] = await needs(ledger.connection)
    assert (one.need, one.amount, one.currency, one.invoice_number, one.acts) == (
        "failed", 6000, "USD", "17", ("retry", "abandon"),
    )  # fmt: skip

    await commands.abandon(ledger.connection, ANA, declined)
    [one] = await needs(ledger.connection)
    assert one.noted == "abandon"

    await ledger.apply("command.abandoned", outcome(ledger.of(names.COMMANDS)[-1], value=0, by="ana", reason="r"))
    assert await needs(ledger.connection) == []


async def test_the_same_call_twice_is_one_decision_and_one_act(ledger: LedgerHarness, declined: str):
    for _ in range(2):
        await commands.retry(ledger.connection, ANA, declined)

    assert await ledger.value("SELECT count(*) FROM delivery.decisions") == 1
    assert await ledger.rows("SELECT action, decided_by, reason, command_id, order_id FROM people.acts") == [
        ("retry", "ana", "limit was raised", declined, "o1")
    ]


async def test_of_a_command_that_is_no_more_as_it_was_seen_only_the_same_decision_may_be_typed_again(
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


async def test_what_cannot_be_decided_now_is_refused_with_a_sentence(ledger: LedgerHarness, declined: str):
    with pytest.raises(Refused, match="the command is declined; only manual, suspect and unknown ones are resolved"):
        await commands.resolve(ledger.connection, ANA, declined)
    with pytest.raises(Refused, match="has a value and the connector's operation id"):
        await commands.resolve(ledger.connection, ANA, declined, done=6000)
    with pytest.raises(Refused, match="no command nowhere is known"):
        await commands.retry(ledger.connection, ANA, "nowhere")
    with pytest.raises(Refused, match="no order nowhere is known"):
        await commands.abandon_amount(ledger.connection, ANA, "nowhere", invoice="1")

    assert await ledger.value("SELECT count(*) FROM people.acts") == 0


async def test_however_many_commands_of_others_wait_a_merchants_own_is_found_and_may_be_decided(
    ledger: LedgerHarness, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("worker.people.needs.ORDERS_LOOKED_AT_MAX", 2)
    for number in range(3):
        await manual_settle(ledger, f"o{number}", "large")
    command_id = await manual_settle(ledger, "o3", "small")

    [one] = await needs(ledger.connection, merchant="small")

    assert (one.command_id, one.connector, one.acts) == (command_id, "c1", ("resolve",))


async def test_of_more_than_are_listed_the_true_number_is_said(
    ledger_on_kafka: LedgerOnKafka, monkeypatch: pytest.MonkeyPatch
):
    for number in range(3):
        await manual_settle(ledger_on_kafka, f"o{number}", "shop")

    text = await ledger_on_kafka.settlement("commands", "list", "--limit", "2")
    as_json = await ledger_on_kafka.settlement("commands", "list", "--limit", "2", "--json")

    assert text.splitlines()[-1].startswith("2 of 3 amounts; --limit shows more; ")
    listed, _, said = as_json.partition("\n")
    assert (len(json.loads(listed)), said) == (2, "2 of 3 amounts; --limit shows more\n")
    assert "\n3 amounts; " in await ledger_on_kafka.settlement("commands", "list")

    monkeypatch.setattr("worker.people.needs.ORDERS_LOOKED_AT_MAX", 2)
    assert " or more amounts; --limit" in await ledger_on_kafka.settlement("commands", "list", "--limit", "1")


async def test_of_more_commands_than_are_looked_at_the_latest_are_shown_and_of_each_need_its_own(
    ledger: LedgerHarness, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("worker.people.needs.ORDERS_LOOKED_AT_MAX", 2)
    found = []
    for day, state in enumerate(("suspect", "unknown", "unknown", "unknown"), 1):
        await ledger.apply("order.authorized", authorized(f"o{day}"))
        await ledger.apply("invoice.issued", invoice(f"o{day}", "17", 6000))
        found.append(await taken_over(ledger, state))
        at = datetime(2026, 1, day, tzinfo=UTC)
        await ledger.connection.execute(
            "UPDATE delivery.commands SET ended_at = $2 WHERE command_id = $1", found[-1], at
        )

    assert [one.command_id for one in await needs(ledger.connection)] == found[:1:-1]
    assert [one.command_id for one in await needs(ledger.connection, need="suspect")] == found[:1]


async def test_a_command_the_connector_left_open_is_found_before_the_ledger_has_heard_of_it(ledger: LedgerHarness):
    await ledger.apply("order.authorized", authorized("o1"))
    await ledger.apply("invoice.issued", invoice("o1", "17", 6000))
    command_id = await taken_over(ledger, "unknown")

    [one] = await needs(ledger.connection, need="unknown")

    assert (one.command_id, one.amount, one.merchant, one.acts) == (command_id, 6000, "shop", ("retry", "resolve"))
    assert await needs(ledger.connection, need="manual") == []
    assert await needs(ledger.connection, merchant="another") == []
    page = await commands.read_page(ledger.connection, command_id)
    assert (page.command["currency"], page.command["cause"]) == ("USD", {"kind": "invoice", "id": "17"})


@pytest.mark.parametrize("about", ["a command", "an amount"])
async def test_a_reason_as_long_as_the_database_can_keep_is_kept_and_a_longer_one_refused_with_a_sentence(
    ledger: LedgerHarness, about: str
):
    """Characters that take three bytes and that nothing can compress."""
    named = "17" if about == "an amount" else await declined_settle(ledger)
    if about == "an amount":
        await lapsed_amount(ledger)
    dice = random.Random(5)
    reason = "".join(chr(dice.randrange(0x4E00, 0x9FA5)) for _ in range(REASON_CHARACTERS_MAX))
    size = len("ana" + "o1" + named)
    most = (commands.DECISION_BYTES_MAX - size) // 3

    async def give_up(reason: str) -> None:
        if about == "a command":
            await commands.abandon(ledger.connection, Actor("ana", reason), named)
        else:
            await commands.abandon_amount(ledger.connection, Actor("ana", reason), "o1", invoice=named)

    with pytest.raises(Refused, match=r"name and reason are [1-3] bytes too long to be kept with this decision"):
        await give_up(reason[: most + 1])
    with pytest.raises(Refused, match=f"{size + 3_000 - commands.DECISION_BYTES_MAX} bytes too long"):
        await give_up(reason)
    await give_up(reason[:most])

    assert await ledger.rows("SELECT reason FROM delivery.decisions") == [(reason[:most],)]


async def test_a_lapsed_amount_is_found_and_given_up_by_order_and_invoice(ledger: LedgerHarness):
    await lapsed_amount(ledger)

    [one] = await needs(ledger.connection)
    assert (one.need, one.amount, one.invoice_number, one.acts) == ("lapsed", 6000, "17", ("abandon",))
    for _ in range(2):
        await commands.abandon_amount(ledger.connection, ANA, "o1", invoice="17")

    assert await ledger.rows("SELECT action, order_id, invoice_number FROM delivery.decisions") == [
        ("abandon", "o1", "17")
    ]
    assert await ledger.value("SELECT count(*) FROM people.acts") == 1


async def test_a_decision_lies_where_the_deployment_has_its_order_whatever_the_persons_own_settings_say(
    ledger_on_kafka: LedgerOnKafka,
):
    await lapsed_amount(ledger_on_kafka)

    await ledger_on_kafka.settlement("commands", "abandon", "--order", "o1", "--invoice", "17", "--by", "ana",
                                "--reason", "paid in cash", TOPIC_PARTITIONS="1000")  # fmt: skip

    assert await ledger_on_kafka.value("SELECT partition FROM delivery.decisions") == ledger_on_kafka.home("o1")


async def suspect_settle(ledger: LedgerHarness) -> str:
    """60.00 USD for invoice 17 of which the delivery worker alone knows that it is suspect."""
    await ledger.apply("order.authorized", authorized("o1"))
    await ledger.apply("invoice.issued", invoice("o1", "17", 6000))
    return await taken_over(ledger, "suspect")


async def test_whoever_resolves_a_command_reads_in_major_units_what_is_booked_and_is_warned_of_less_than_was_asked_for(
    ledger_on_kafka: LedgerOnKafka,
):
    command_id = await suspect_settle(ledger_on_kafka)
    resolve = ("commands", "resolve", command_id, "--operation-id", "S-1", "--by", "ana", "--reason")

    slip = await ledger_on_kafka.settlement(*resolve, "seen at the acquirer", "--done", "60")
    whole = await ledger_on_kafka.settlement(*resolve, "looked again", "--done", "6000")

    assert slip.startswith(
        "noted: 0.60 of 60.00 USD booked as done; 59.40 counts as NOT done: it may be asked for again\n"
        "warning: --done takes minor units, and 60 is 0.60 USD, less than the 60.00 USD asked for (--done 6000)."
    )
    assert whole == "noted: 60.00 of 60.00 USD booked as done\n"


async def test_whoever_resolves_a_command_as_not_done_reads_that_it_is_failed_and_what_comes_next(
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


@pytest.mark.parametrize("what", ["retry", "abandon"])
async def test_whoever_decides_the_same_for_the_same_reason_again_hears_what_came_of_it_the_first_time(
    ledger_on_kafka: LedgerOnKafka, what: str
):
    about: tuple[str, ...] = ("--order", "o1", "--invoice", "17")
    if what == "retry":
        about, noted = (await declined_settle(ledger_on_kafka),), "asked again"
    else:
        await lapsed_amount(ledger_on_kafka)
        noted = "given up"
    decide = ("commands", what, *about, "--by", "ana", "--reason")
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
