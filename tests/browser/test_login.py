"""Login to the ops view: tokens, sessions, and requests from other sites."""

import aiohttp
import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import OPERATOR, OpsDeployment
from worker.ops.guard import FAILURES_MAX, Guard
from worker.settings import SettingsError, load

PATHS = ("/", "/orders", "/order?id=x", "/needs", "/command?id=x", "/dead-letters", "/dead-letter?id=1", "/act", "/no")


async def test_an_operator_logs_in_and_out(ops: OpsDeployment, page: Page) -> None:
    await page.goto(f"{ops.closed}/orders?status=open")
    await page.get_by_label("Token").fill(OPERATOR)
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(f"{ops.closed}/orders?status=open")
    [cookie] = [kept for kept in await page.context.cookies() if kept["name"] == "settlement_session"]
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert OPERATOR not in cookie["value"]

    await page.get_by_role("button", name="Log out").click()
    await expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    await page.goto(f"{ops.closed}/orders")
    await expect(page.get_by_role("heading", name="Log in")).to_be_visible()


async def test_without_a_session_every_page_redirects_to_login(ops: OpsDeployment) -> None:
    async with aiohttp.ClientSession() as client:
        for path in PATHS:
            async with client.get(ops.closed + path, allow_redirects=False) as answer:
                assert (answer.status, answer.headers["Location"].split("?")[0]) == (303, "/login"), path
        async with client.get(f"{ops.closed}/stream") as answer:
            assert answer.status == 401
        async with client.get(f"{ops.closed}/live") as answer:
            assert await answer.json() == {"live": True}
        forged = {"settlement_session": "7b22726f6c65223a226f70657261746f72227d.00"}
        async with client.get(ops.closed, cookies=forged, allow_redirects=False) as answer:
            assert answer.status == 303


async def test_repeated_wrong_tokens_block_login_from_that_address_for_a_while(ops: OpsDeployment) -> None:
    headers, data = {"Origin": ops.closed}, {"token": OPERATOR}
    other_address = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
    async with aiohttp.ClientSession(headers=headers, connector=other_address) as client:
        for _ in range(FAILURES_MAX):
            async with client.post(f"{ops.closed}/login", data={"token": "guess"}) as answer:
                assert answer.status == 403
        async with client.post(f"{ops.closed}/login", data=data) as answer:
            assert answer.status == 429
            assert 0 < int(answer.headers["Retry-After"]) <= 60
    login = f"{ops.closed}/login"
    async with aiohttp.ClientSession(headers=headers) as another, another.post(login, data=data) as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {},
    ],
    ids=str,
)
async def test_a_form_sent_from_another_site_is_refused(ops: OpsDeployment, headers: dict[str, str]) -> None:
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as client:
        async with client.get(ops.open) as answer:
            assert answer.status == 200
        form = {"action": "discard", "id": "1", "by": "x", "reason": "y"}
        async with client.post(f"{ops.open}/act", data=form, headers=headers) as answer:
            assert answer.status == 403
            assert "nothing was done" in await answer.text()


async def test_a_form_without_the_key_of_its_session_is_refused(ops: OpsDeployment) -> None:
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar, headers={"Origin": ops.open}) as client:
        async with client.get(ops.open) as answer:
            assert answer.status == 200
        for key in ("", "0" * 64):
            form = {"action": "discard", "id": "1", "by": "x", "reason": "y", "form_key": key}
            async with client.post(f"{ops.open}/act", data=form) as answer:
                assert answer.status == 403


async def test_a_request_with_a_foreign_host_name_is_refused(ops: OpsDeployment) -> None:
    async with aiohttp.ClientSession() as client:
        for host in ("rebound.example", "rebound.example:80", "127.0.0.1.rebound.example", "0.0.0.0"):
            async with client.get(ops.open, headers={"Host": host}) as answer:
                assert answer.status == 421, host


async def test_every_response_has_a_strict_content_security_policy(ops: OpsDeployment) -> None:
    async with aiohttp.ClientSession() as client:
        for path in (*PATHS, "/static/ops.js", "/static/ops.css", "/login", "/live"):
            async with client.get(ops.open + path) as answer:
                policy = answer.headers["Content-Security-Policy"]
                text = await answer.text()
            assert policy.startswith("default-src 'none'; "), path
            assert "unsafe" not in policy, path
            assert answer.headers["X-Content-Type-Options"] == "nosniff", path
            assert "<style" not in text, path
            assert " style=" not in text, path
            assert " onclick" not in text, path


def test_listening_beyond_loopback_requires_a_long_token() -> None:
    environment = {"KAFKA_BOOTSTRAP_SERVERS": "k:1", "DATABASE_URL": "postgresql://d/d", "OPS_HOST": "0.0.0.0"}
    for tokens, message in (
        ({}, "OPS_TOKEN is missing"),
        ({"OPS_VIEW_TOKEN": "v" * 20}, "OPS_TOKEN is missing"),
        ({"OPS_TOKEN": "short"}, "OPS_TOKEN takes a secret of at least 16"),
        ({"OPS_TOKEN": "s" * 20, "OPS_VIEW_TOKEN": "s" * 20}, "are the same"),
    ):
        with pytest.raises(SettingsError, match=message):
            Guard(load({**environment, **tokens}))
    assert Guard(load({**environment, "OPS_TOKEN": "s" * 20})).requires_token
