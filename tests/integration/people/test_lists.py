"""The lists of the ops view say what they leave out and when a filter leaves nothing; unknown names are not found."""

import pytest

from tests.integration.ledger.harness import LedgerHarness
from tests.integration.people.ops_view import ops_view, shown
from tests.integration.people.undecided import manual_settle


async def test_the_list_of_needs_says_how_many_it_leaves_out(ledger: LedgerHarness, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("worker.ops.needs.LISTED_MAX", 2)
    for number in range(3):
        await manual_settle(ledger, f"o{number}", "shop")

    async with ops_view(ledger) as client:
        assert "The latest 2 of 3 amounts." in await shown(client, "/needs")


async def test_a_list_that_a_filter_leaves_empty_does_not_say_that_nothing_needs_a_person(ledger: LedgerHarness):
    await manual_settle(ledger, "o1", "shop")

    async with ops_view(ledger) as client:
        for query in ({"merchant": "another"}, {"need": "suspect"}):
            assert "Nothing that fits needs a person. Show all" in await shown(client, "/needs", **query)
        assert "No dead letter fits. Show all" in await shown(client, "/dead-letters", merchant="another")
        assert "No dead letter is open." in await shown(client, "/dead-letters")


async def test_the_kinds_of_a_list_keep_what_it_is_filtered_by(ledger: LedgerHarness):
    query = {"merchant": "a&b", "reason": "invalid"}
    async with ops_view(ledger) as client, client.get("/dead-letters", params=query) as answer:
        page = await answer.text()

    assert 'href="/dead-letters?status=replayed&amp;reason=invalid&amp;merchant=a%26b"' in page
    assert '<option value="a&amp;b" selected>' in page


@pytest.mark.parametrize("path", ["/order", "/command", "/dead-letter"])
async def test_a_name_that_nothing_has_is_not_found(ledger: LedgerHarness, path: str):
    what = path[1:].replace("-", " ")

    async with ops_view(ledger) as client:
        for name in ("17", "nowhere"):
            async with client.get(path, params={"id": name}) as answer:
                assert answer.status == 404
            assert f"Not found No {what} {name} is known" in await shown(client, path, id=name)
