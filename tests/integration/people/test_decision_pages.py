"""Decision pages: a decision applies only to the state that the page showed."""

import re
from collections.abc import AsyncIterator
from html import unescape
from typing import Any

import pytest
from aiohttp.test_utils import TestClient

from tests.integration.ledger.harness import LedgerHarness, authorized, outcome
from tests.integration.login import login
from tests.integration.people.ops_view import ops_view, shown
from tests.integration.people.undecided import declined_settle, suspect_settle, take_over, waiting_amount
from worker.kafka import names
from worker.ops.orders import FOUND_MAX
from worker.ops.words import NEEDS
from worker.settings import Secret

CHANGED = "The command has changed since it was looked at and is resolved now: look again, then decide"
WHO = {"by": "ben", "reason": "the acquirer was down"}


class Browser:
    """Opens a decision page and sends its form, as a browser does."""

    def __init__(self, client: TestClient[Any, Any]) -> None:
        self._client = client

    async def open(self, **query: str) -> tuple[int, str]:
        async with self._client.get("/act", params=query) as answer:
            return answer.status, unescape(await answer.text())

    async def send(self, form: dict[str, str]) -> tuple[int, str]:
        headers = {"Origin": f"http://{self._client.host}:{self._client.port}"}
        async with self._client.post("/act", data=form, headers=headers, allow_redirects=False) as answer:
            return answer.status, answer.headers.get("Location") or unescape(await answer.text())


def hidden(page: str) -> dict[str, str]:
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page))


@pytest.fixture
async def browser(ledger: LedgerHarness) -> AsyncIterator[Browser]:
    async with ops_view(ledger) as client:
        yield Browser(client)


@pytest.fixture
async def suspect(ledger: LedgerHarness) -> str:
    return await suspect_settle(ledger)


async def resolve_as_not_done(ledger: LedgerHarness) -> None:
    """Resolves the command, as the delivery worker does after another operator's decision."""
    await ledger.connection.execute("UPDATE delivery.commands SET state = 'resolved', changes = changes + 1")


async def decisions(ledger: LedgerHarness) -> list[tuple[Any, ...]]:
    return await ledger.rows("SELECT action, changes, decided_by FROM delivery.decisions")


async def test_a_retry_page_that_promises_the_same_request_id_never_sends_another_one(
    ledger: LedgerHarness, browser: Browser, suspect: str
):
    status, page = await browser.open(action="retry", id=suspect)
    assert (status, "The same request id is sent again" in page) == (200, True)
    await resolve_as_not_done(ledger)

    status, page = await browser.send(hidden(page) | WHO)

    assert (status, CHANGED in page) == (409, True)
    assert await decisions(ledger) == []

    status, page = await browser.open(action="retry", id=suspect)
    assert (status, "It becomes a new command" in page) == (200, True)
    assert (await browser.send(hidden(page) | WHO))[0] == 303
    assert await decisions(ledger) == [("retry", 1, "ben")]


async def test_an_ops_view_with_a_read_only_login_says_which_role_may_decide(ledger: LedgerHarness, suspect: str):
    async with login(ledger.settings.database, "settlement_ops") as url, ops_view(ledger, Secret(url)) as client:
        browser = Browser(client)
        shown, page = await browser.open(action="retry", id=suspect)

        status, refusal = await browser.send(hidden(page) | WHO)

    assert (shown, status, "This login may only look" in refusal) == (200, 503, True)
    assert "needs a login of the role settlement_operator" in refusal
    assert await decisions(ledger) == []


async def test_a_command_that_changes_before_the_confirmation_must_be_reviewed_again(
    ledger: LedgerHarness, browser: Browser, suspect: str
):
    _, first = await browser.open(action="resolve", id=suspect)
    form = hidden(first) | {"result": "done", "value": "60.00", "operation": "settle-1"}
    status, second = await browser.open(**form)
    assert (status, "booked as done" in second) == (200, True)
    await resolve_as_not_done(ledger)

    reopened = await browser.open(**form)
    sent = await browser.send(hidden(second) | WHO)

    assert [(status, CHANGED in page) for status, page in (reopened, sent)] == [(409, True), (409, True)]
    assert await decisions(ledger) == []


async def test_a_resolve_page_shows_the_amount_booked_and_the_amount_not_done(browser: Browser, suspect: str):
    _, first = await browser.open(action="resolve", id=suspect)
    form = hidden(first) | {"result": "done", "operation": "settle-1"}

    pages = [(await browser.open(**form, value=value))[1] for value in ("60.00", "0.60")]

    assert "60.00 of 60.00 USD booked as done." in pages[0]
    assert "0.60 of 60.00 USD booked as done; 59.40 counts as NOT done: it may be asked for again." in pages[1]


async def test_a_resolve_page_refuses_an_impossible_amount_before_and_at_the_confirmation(
    ledger: LedgerHarness, browser: Browser, suspect: str
):
    """The possible amount may fall while the page is open."""
    refusal = "70.00 USD is above the 60.00 USD that can have been done, which is 6000 in minor units"
    _, first = await browser.open(action="resolve", id=suspect)
    form = hidden(first) | {"result": "done", "value": "70.00", "operation": "settle-1"}
    status, second = await browser.open(**form)
    assert (status, "booked as done" in second) == (200, True)
    automatic = {"orderId": "o1", "paymentId": "o1.p1", "settleId": "auto", "value": 4000}
    await ledger.apply("payment.auto_settled", automatic)

    reopened = await browser.open(**form)
    sent = await browser.send(hidden(second) | WHO)

    assert [(status, refusal in page) for status, page in (reopened, sent)] == [(409, True), (409, True)]
    assert await decisions(ledger) == []


async def test_a_form_sent_again_decides_nothing_and_says_when_the_decision_was_applied(
    ledger: LedgerHarness, browser: Browser, suspect: str
):
    _, page = await browser.open(action="retry", id=suspect)
    sent = [await browser.send(hidden(page) | WHO) for _ in range(2)]
    await ledger.connection.execute("UPDATE delivery.decisions SET applied_at = now()")
    sent.append(await browser.send(hidden(page) | WHO))

    locations = [f"/command?id={suspect}&noted={noted}" for noted in ("retry", "retry", "before")]
    assert sent == [(303, location) for location in locations]
    assert await decisions(ledger) == [("retry", 0, "ben")]


async def test_a_second_person_sees_who_has_decided_and_is_offered_no_other_decision_meanwhile(
    ledger: LedgerHarness, suspect: str
):
    async with ops_view(ledger) as client:
        browser = Browser(client)
        _, page = await browser.open(action="retry", id=suspect)
        await browser.send(hidden(page) | WHO)

        command = await shown(client, "/command", id=suspect)
        status, refusal = await browser.open(action="resolve", id=suspect)

    assert "ben has decided: retry. The delivery worker applies it." in command
    assert "Ask again" not in command
    assert (status, "Ben has decided about it already" in refusal) == (409, True)
    assert f'href="/command?id={suspect}">Look again' in refusal


async def test_a_command_and_the_one_that_asks_again_for_it_name_each_other(ledger: LedgerHarness):
    first = await declined_settle(ledger)
    await ledger.apply("command.retried", outcome(ledger.published(names.COMMANDS)[-1], value=0, by="ana", reason="r"))
    second = await take_over(ledger, "waiting")

    async with ops_view(ledger) as client:
        assert f"asked again by {second}" in await shown(client, "/command", id=first)
        assert f"asks again for {first}" in await shown(client, "/command", id=second)


async def test_an_act_that_is_refused_leads_back_to_what_it_was_about(
    ledger: LedgerHarness, browser: Browser, suspect: str
):
    _, page = await browser.open(action="retry", id=suspect)
    await resolve_as_not_done(ledger)

    _, sent = await browser.send(hidden(page) | WHO)
    _, amount = await browser.open(action="abandon", order="o 1", invoice="17")
    _, unknown = await browser.open(action="replay", id="17")

    assert f'href="/command?id={suspect}">Look again' in sent
    assert 'href="/order?id=o+1">Look again' in amount
    assert "Look again" not in unknown


async def test_a_command_page_shows_its_request_id(ledger: LedgerHarness, suspect: str):
    request = await ledger.value("SELECT request_id FROM commands")

    async with ops_view(ledger) as client, client.get("/command", params={"id": suspect}) as answer:
        assert f'<dt>request</dt><dd class="id">{request}</dd>' in await answer.text()


async def test_a_waiting_amount_is_shown_and_offers_no_decision(ledger: LedgerHarness):
    await waiting_amount(ledger)

    async with ops_view(ledger) as client:
        needs = await shown(client, "/needs")
        order = await shown(client, "/order", id="o1")
        forged, refusal = await Browser(client).open(action="abandon", order="o1")

    assert "waiting 20.00 USD Another authorization for order o1 shop" in needs
    assert f"waiting 20.00 USD {NEEDS['waiting']}" in order
    assert "Give up" not in needs + order
    assert (forged, "Nothing in this order is waiting for that decision" in refusal) == (409, True)


async def test_a_search_that_finds_more_than_it_shows_says_so(ledger: LedgerHarness):
    await ledger.connection.execute(
        "INSERT INTO ledger.orders (order_id, partition) SELECT 'o' || n, 0 FROM generate_series(1, $1) AS n", FOUND_MAX
    )

    async with ops_view(ledger) as client:
        assert f" {FOUND_MAX} or more orders begin with “o”" in await shown(client, "/orders", q="o")
        assert " 2 orders begin with “o5”" in await shown(client, "/orders", q="o5")


async def test_an_order_page_shows_what_does_not_fit_and_what_each_decision_was_about(ledger: LedgerHarness):
    await ledger.apply("order.authorized", authorized("o1"))
    payment = await ledger.value("SELECT payment_id FROM payments")
    auto = {"orderId": "o1", "paymentId": payment, "settleId": "S-1", "value": 20_000}
    await ledger.apply("payment.auto_settled", auto)
    await ledger.connection.execute(
        "INSERT INTO people.acts (decided_by, reason, through, action, order_id, dead_letter, settle_id) VALUES"
        " ('ana', 'x', 'command line', 'replay', 'o1', 1, NULL), ('ana', 'y', 'ops view', 'abandon', 'o1', NULL, 'S-1')"
    )

    async with ops_view(ledger) as client:
        text = await shown(client, "/order", id="o1")

    assert "automatic settlement S-1 does not fit its payment" in text
    assert "ana replay dead letter 1 : x" in text
    assert "ana abandon automatic settlement S-1: y" in text
    assert "the answer does not fit" not in text
