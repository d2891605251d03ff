"""The page of a dead letter offers what can be done about it, and shows no more of it than a person reads."""

from tests.integration.ledger.harness import LedgerHarness, outcome
from tests.integration.people.ops_view import ops_view, shown
from tests.integration.people.undecided import dead_letter_of_declined_command
from worker.kafka import names


async def letter_page(ledger: LedgerHarness) -> str:
    number = await ledger.value("SELECT id FROM ledger.dead_letters UNION ALL SELECT id FROM delivery.dead_letters")
    async with ops_view(ledger) as client:
        return await shown(client, "/dead-letter", id=str(number))


async def test_a_refused_fact_can_be_replayed_or_discarded(ledger: LedgerHarness):
    await ledger.apply("invoice.issued", {"orderId": "o1"})

    page = await letter_page(ledger)

    assert "Replay Discard" in page
    assert "Decide about the command" not in page


async def test_a_command_leads_to_its_decision_and_is_discarded_only_when_none_is_left(ledger: LedgerHarness):
    """Its page offered a discard that was then refused, and did not name the command."""
    command_id = await dead_letter_of_declined_command(ledger)

    undecided = await letter_page(ledger)
    await ledger.apply(
        "command.abandoned", outcome(ledger.published(names.COMMANDS)[-1], value=0, by="ana", reason="r")
    )
    decided = await letter_page(ledger)

    assert f"command {command_id}" in undecided
    assert "Decide about the command" in undecided
    assert not {"Replay", "Discard"} & {*undecided.split()}
    assert "Discard" in decided.split()
    assert "Decide about the command" not in decided


async def test_a_record_with_a_long_value_and_many_headers_is_shown_in_part(ledger: LedgerHarness):
    headers = [(f"h{number}", b"x") for number in range(1_000)]
    ledger.send("invoice.issued", raw=b"x" * 500_000, headers=headers)
    await ledger.cycle()

    page = await letter_page(ledger)

    assert len(page) < 20_000
    assert "500,000 characters in all" in page
    assert "more; `settlement dlq show 1 --json` shows them" in page
