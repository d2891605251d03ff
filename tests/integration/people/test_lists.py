"""The lists of the ops view say what they leave out and when a filter leaves nothing; unknown names are not found."""

import pytest

from tests.integration.ledger.harness import LedgerHarness
from tests.integration.people.ops_view import ops_view, shown
from tests.integration.people.undecided import manual_settle


async def test_the_list_of_needs_begins_with_its_sum_and_shows_every_amount_page_by_page(
    ledger: LedgerHarness, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("worker.ops.query.PAGE_ENTRIES", 2)
    for number in range(3):
        await manual_settle(ledger, f"o{number}", "shop")
        await _ended(ledger, f"o{number}", hours=9 - number)

    async with ops_view(ledger) as client:
        first = await shown(client, "/needs")
        assert "3 amounts: 180.00 USD ; the oldest since" in first
        assert "9 h ago. Here are 1 to 2, latest first." in first
        assert ("order o2" in first, "order o0" in first) == (True, False)
        for page in ("2", "9"):
            last = await shown(client, "/needs", page=page)
            assert "Here are 3 to 3, latest first." in last
            assert ("order o2" in last, "order o0" in last) == (False, True)


async def test_what_needs_a_person_is_listed_for_one_connector(ledger: LedgerHarness):
    await manual_settle(ledger, "o1", "shop")
    await manual_settle(ledger, "o2", "shop")
    await ledger.connection.execute("UPDATE delivery.commands SET connector = 'other' WHERE order_id = 'o2'")

    async with ops_view(ledger) as client:
        page = await shown(client, "/needs", connector="other")

    assert "1 amount: 60.00 USD" in page
    assert "Capture at other for order o2" in page
    assert "order o1" not in page


async def _ended(ledger: LedgerHarness, order_id: str, hours: int) -> None:
    """Lets the order's command have ended so many hours ago."""
    await ledger.connection.execute(
        "UPDATE delivery.commands SET ended_at = now() - make_interval(hours => $2) WHERE order_id = $1",
        order_id, hours,
    )  # fmt: skip


async def test_a_list_that_a_filter_leaves_empty_does_not_say_that_nothing_needs_a_person(ledger: LedgerHarness):
    await manual_settle(ledger, "o1", "shop")

    async with ops_view(ledger) as client:
        for query in ({"merchant": "another"}, {"need": "suspect"}, {"connector": "another"}):
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
