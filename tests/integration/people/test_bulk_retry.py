"""`settlement commands retry` with a filter: retries many commands, each by a decision of its own."""

import json

import pytest

from tests.integration.ledger.harness import NOON_MS, authorized, invoice, outcome, payment
from tests.integration.people.ledger_on_kafka import LedgerOnKafka
from tests.integration.people.undecided import declined_settle, take_over
from worker.kafka import names

SIGNED = ("--by", "ana", "--reason", "the acquirer is back")
DECISIONS = "SELECT command_id, action, decided_by, reason, changes FROM delivery.decisions ORDER BY id"


async def unknown_settle(ledger: LedgerOnKafka, order_id: str, connector: str = "c1") -> str:
    """Leaves a settle of 60.00 USD unknown at its horizon; its command id."""
    await ledger.apply("order.authorized", authorized(order_id))
    await ledger.apply("invoice.issued", invoice(order_id, "17", 6_000))
    command_id = await take_over(ledger, "unknown")
    await ledger.apply("command.unknown", outcome(ledger.published(names.COMMANDS)[-1], value=0, code="no_answer"))
    await ledger.connection.execute(
        "UPDATE delivery.commands SET connector = $2, code = 'no_answer', ended_at = now() WHERE command_id = $1",
        command_id, connector,
    )  # fmt: skip
    return command_id


async def declined_settle_of_expired_authorization(ledger: LedgerOnKafka, order_id: str) -> str:
    """Declines a settle of 60.00 USD whose authorization then lapses; its command id."""
    order = authorized(order_id) | {"payments": [payment(f"{order_id}.p1", expiresAt="2026-01-15T13:00:00Z")]}
    await ledger.apply("order.authorized", order)
    await ledger.apply("invoice.issued", invoice(order_id, "17", 6_000))
    command_id = await take_over(ledger, "declined")
    await ledger.apply("command.declined", outcome(ledger.published(names.COMMANDS)[-1], value=0, code="51"))
    ledger.now_ms = NOON_MS + 3_600_001
    await ledger.cycle()
    return command_id


async def test_a_bulk_retry_stores_one_decision_for_each_match_and_its_repeat_stores_none(
    ledger_on_kafka: LedgerOnKafka,
):
    ids = [await unknown_settle(ledger_on_kafka, f"o{number}") for number in range(3)]
    await unknown_settle(ledger_on_kafka, "another", connector="c2")
    retry = ("commands", "retry", "--need", "unknown", "--connector", "c1", *SIGNED)

    first = await ledger_on_kafka.settlement(*retry)
    second = await ledger_on_kafka.settlement(*retry)

    assert first == "noted; 3 commands will be asked again: 3 unknown of c1 (no_answer)\n"
    assert second.splitlines() == [
        "no command will be asked again",
        "decided before: 3; `settlement commands show ID` tells what became of it",
    ]
    assert await ledger_on_kafka.rows(DECISIONS) == [
        (command_id, "retry", "ana", "the acquirer is back", 0) for command_id in ids
    ]
    assert await ledger_on_kafka.value("SELECT count(*) FROM people.acts") == len(ids)


async def test_a_bulk_retry_names_each_refused_command_with_the_reason_and_retries_the_others(
    ledger_on_kafka: LedgerOnKafka,
):
    expired = await declined_settle_of_expired_authorization(ledger_on_kafka, "expired")
    unknown = await unknown_settle(ledger_on_kafka, "o2")

    foreseen = await ledger_on_kafka.settlement("commands", "retry", "--all", "--dry-run")
    text = await ledger_on_kafka.settlement("commands", "retry", "--all", *SIGNED, code=1)
    as_json = await ledger_on_kafka.settlement("commands", "retry", "--all", "--json", *SIGNED, code=1)

    why = (
        "the authorization of payment expired.p1 has expired, and no other payment takes over what it failed to "
        "capture: abandon it, unless the gateway captures by itself"
    )
    assert foreseen.splitlines() == [
        "would retry 1 command: 1 unknown of c1 (no_answer); nothing was done", "refused: 1", f"  {expired}: {why}",
    ]  # fmt: skip
    assert text.splitlines() == [
        "noted; 1 command will be asked again: 1 unknown of c1 (no_answer)", "refused: 1", f"  {expired}: {why}",
    ]  # fmt: skip
    assert json.loads(as_json) == {
        "retried": 0, "by_code": [], "decided_before": 1, "refused": [{"command_id": expired, "why": why}],
    }  # fmt: skip
    assert [row[0] for row in await ledger_on_kafka.rows(DECISIONS)] == [unknown]


async def test_a_dry_run_of_a_bulk_retry_counts_the_matches_and_stores_nothing(ledger_on_kafka: LedgerOnKafka):
    """A command that was retried since no longer matches."""
    await declined_settle(ledger_on_kafka)
    retry = ("commands", "retry", "--need", "failed", "--dry-run")
    assert await ledger_on_kafka.settlement(*retry) == "would retry 1 command: 1 failed of c1; nothing was done\n"
    await ledger_on_kafka.apply("command.retried", outcome(ledger_on_kafka.published(names.COMMANDS)[-1], value=0))

    assert await ledger_on_kafka.settlement(*retry) == "would retry 0 commands; nothing was done\n"
    assert await ledger_on_kafka.value("SELECT count(*) FROM delivery.decisions") == 0
    assert await ledger_on_kafka.value("SELECT count(*) FROM people.acts") == 0


async def test_each_filter_of_a_bulk_retry_selects_only_matching_commands(ledger_on_kafka: LedgerOnKafka):
    await unknown_settle(ledger_on_kafka, "o1")
    matching = ("--connector=c1", "--code=no_answer", "--merchant=shop", "--order=o1", "--newer=1h", "--need=unknown")
    others = ("--connector=c2", "--code=51", "--merchant=a", "--order=o2", "--older=1h", "--need=suspect")

    for options, number in ((matching, 1), (others, 0)):
        for option in options:
            text = await ledger_on_kafka.settlement("commands", "retry", option, "--dry-run", "--json")
            assert json.loads(text)["would_retry"] == number, option


@pytest.mark.parametrize(("options", "sentence"), [
    (SIGNED, "say which: ID, or a filter"), (("ID", "--all", *SIGNED), "say which, in one way only: ID, or"),
    (("--all", "--order", "o1", *SIGNED), "say which, in one way only: ID, or"),
    (("--all",), "say who decides and why"), (("ID", "--by", "ana"), "say who decides and why"),
    (("--all", "--changes", "1", *SIGNED), "--changes goes with an ID"),
    (("ID", "--dry-run"), "--dry-run and --json go with a filter"),
])  # fmt: skip
async def test_ambiguous_options_of_a_retry_are_refused(
    ledger_on_kafka: LedgerOnKafka, options: tuple[str, ...], sentence: str
):
    assert sentence in await ledger_on_kafka.settlement("commands", "retry", *options, code=2)
