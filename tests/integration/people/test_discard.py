"""`settlement dlq discard`: dry run, counts by reason, and dead letters that must be decided instead."""

import json
from datetime import UTC, datetime

import pytest

from tests.integration.ledger.harness import invoice, outcome
from tests.integration.people.ledger_on_kafka import LedgerOnKafka
from tests.integration.people.undecided import dead_letter_of_declined_command
from worker.kafka import names

WHO = ("--by", "ana", "--reason", "a test of the ERP")


@pytest.fixture
async def letters(ledger_on_kafka: LedgerOnKafka) -> LedgerOnKafka:
    """Three dead letters: two are malformed, and the third is invalid."""
    for number in range(2):
        await ledger_on_kafka.apply("invoice.issued", {"orderId": f"m{number}"}, raw=b"no JSON")
    await ledger_on_kafka.apply("invoice.issued", invoice("o9", "1", -5))
    return ledger_on_kafka


async def statuses(ledger: LedgerOnKafka) -> list[str]:
    return [row[0] for row in await ledger.rows(
        "SELECT status FROM ledger.dead_letters UNION ALL SELECT status FROM delivery.dead_letters"
    )]  # fmt: skip


async def test_a_reason_code_given_as_the_reason_is_refused_because_it_would_not_select(letters: LedgerOnKafka):
    for words in (("discard", "--all"), ("replay", "--all")):
        text = await letters.settlement("dlq", *words, "--by", "ana", "--reason", "malformed", code=2)
        assert text == (
            "settlement: --reason takes your own words, which are kept with the decision; "
            "--code malformed selects by reason code\n"
        )

    assert await statuses(letters) == 3 * ["open"]


async def test_discard_has_a_dry_run_and_reports_how_many_of_each_reason_were_discarded(letters: LedgerOnKafka):
    assert await letters.settlement("dlq", "discard", "--all", "--dry-run") == (
        "would discard 3 dead letters: 2 malformed, 1 invalid; nothing was done\n"
    )
    assert await statuses(letters) == 3 * ["open"]

    assert await letters.settlement("dlq", "discard", "--code", "malformed", *WHO) == (
        "discarded 2 dead letters: 2 malformed\n"
    )
    text = await letters.settlement("dlq", "discard", "--all", *WHO, "--json")
    assert json.loads(text) == {"discarded": 1, "by_reason": {"invalid": 1}, "decided_instead": 0}
    assert "say who discards and why" in await letters.settlement("dlq", "discard", "--all", code=2)


async def test_a_commands_dead_letter_cannot_be_discarded_while_a_decision_is_possible(letters: LedgerOnKafka):
    command_id = await dead_letter_of_declined_command(letters)
    number = await letters.value("SELECT id FROM delivery.dead_letters")

    text = await letters.settlement("dlq", "discard", str(number), *WHO, code=1)
    assert text == (
        f"settlement: dead letter {number} is not discarded but decided: `settlement commands retry {command_id}` "
        f"asks again, `… abandon {command_id}` gives it up\n"
    )
    text = await letters.settlement("dlq", "discard", "--all", *WHO)
    assert text.splitlines() == [
        "discarded 3 dead letters: 2 malformed, 1 invalid",
        "commands or outcomes, of which a person decides: 1; `settlement commands list`",
    ]

    decide = "UPDATE delivery.dead_letters SET status = $1, decided_by = $2, decided_reason = $2, decided_at = $3"
    await letters.connection.execute(decide, "replayed", "ana", datetime(2026, 1, 15, tzinfo=UTC))
    text = await letters.settlement("dlq", "show", str(number))
    assert text.startswith(f"dead letter {number}, decided: declined\n"), "a retry replays no command"
    assert "published again" not in text
    await letters.connection.execute(decide, "open", None, None)

    await letters.apply(
        "command.abandoned", outcome(letters.published(names.COMMANDS)[-1], value=0, by="ana", reason="r")
    )
    text = await letters.settlement("dlq", "discard", str(number), *WHO)
    assert text == "discarded 1 dead letter: 1 declined\n", "no decision is left"


async def test_a_list_offers_more_only_if_there_is_more(letters: LedgerOnKafka):
    assert "the latest 2; --limit shows more; " in await letters.settlement("dlq", "list", "--limit", "2")
    assert "\n3 dead letters; " in await letters.settlement("dlq", "list", "--limit", "3")


async def test_a_discard_says_how_many_were_discarded_before(letters: LedgerOnKafka):
    ids = [str(row[0]) for row in await letters.rows("SELECT id FROM dead_letters ORDER BY id")]
    await letters.settlement("dlq", "discard", *ids[:2], *WHO)

    text = await letters.settlement("dlq", "discard", *ids, *WHO)

    assert text == "discarded 1 dead letter: 1 invalid\ndiscarded before: 2\n"


async def test_a_commands_dead_letter_is_shown_with_what_to_decide_until_that_is_done(letters: LedgerOnKafka):
    command_id = await dead_letter_of_declined_command(letters)
    number = str(await letters.value("SELECT id FROM delivery.dead_letters"))
    to_decide = f"a person decides: `settlement commands retry {command_id}` asks again"

    assert to_decide in await letters.settlement("dlq", "show", number)

    await letters.apply(
        "command.abandoned", outcome(letters.published(names.COMMANDS)[-1], value=0, by="ana", reason="r")
    )
    assert "a person decides" not in await letters.settlement("dlq", "show", number)
