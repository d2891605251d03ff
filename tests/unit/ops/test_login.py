"""Login, sessions and forms of the ops view, and what it shows without a session."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp.test_utils import TestClient

from tests.pages import EMPTY_VIEW, QUIET_MONITOR, client_of_pages
from worker.ops.guard import Guard
from worker.ops.monitor import Outage
from worker.ops.reading import Reader
from worker.ops.view import View
from worker.settings import load

TOKEN = "operator-token-of-the-tests"
VIEWERS = "viewers-token-of-the-tests"
PLACES = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "DATABASE_URL": "postgresql://u:p@127.0.0.1:9/d"}

FORM = "application/x-www-form-urlencoded"
PARTS = "multipart/form-data"
INVALID_TRANSFER_ENCODING = (
    b'--abc\r\nContent-Disposition: form-data; name="token"\r\nContent-Transfer-Encoding: none\r\n\r\nx\r\n--abc--\r\n'
)


def client_of_view(
    view: Any = EMPTY_VIEW, monitor: Any = QUIET_MONITOR, token: str | None = TOKEN
) -> TestClient[Any, Any]:
    """A client of an ops view that requires a token, without a database."""
    settings = load(PLACES if token is None else {**PLACES, "OPS_TOKEN": token})
    return client_of_pages(settings, Reader(settings.database), view, monitor)


async def place_after_login(to: str) -> str:
    async with client_of_view() as client:
        headers = {"Origin": f"http://{client.host}:{client.port}"}
        form = {"token": TOKEN, "to": to}
        async with client.post("/login", data=form, headers=headers, allow_redirects=False) as answer:
            assert answer.status == 303
            return answer.headers["Location"]


async def readiness(view: Any, monitor: Any) -> tuple[int, Any]:
    async with client_of_view(view, monitor) as client, client.get("/ready") as answer:
        return answer.status, await answer.json()


@pytest.mark.parametrize("to", ["/", "/orders?status=open", "/order?id=a%26b%0A%C3%A9", "/order?id=//x"])
async def test_login_continues_with_the_requested_page(to: str):
    assert await place_after_login(to) == to


@pytest.mark.parametrize("to", [
    "//evil.example", "/\\evil.example", "https://evil.example", "evil.example", "", "/\t/evil.example",
    "/\n/evil.example", "/\r\n/evil.example", "\t//evil.example", "/\t\\evil.example", "/\x7f/evil.example", "//[",
])  # fmt: skip
async def test_login_never_redirects_to_another_site(to: str):
    assert await place_after_login(to) == "/"


async def test_readiness_without_a_session_shows_no_error_messages():
    error = 'password authentication failed for user "ops"'
    crashed: Any = SimpleNamespace(app=SimpleNamespace(crashed=True, crash_reason=RuntimeError(error)))
    view = SimpleNamespace(incomplete_reason=lambda: View.incomplete_reason(crashed))

    assert await readiness(view, SimpleNamespace(outages=(Outage("Lag", error, None),))) == (503, {
        "ready": False, "view": "the view has crashed; the log says why",
        "around": "the last look at the database or the brokers failed; the log says why",
    })  # fmt: skip


async def test_a_complete_view_is_ready():
    view, monitor = SimpleNamespace(incomplete_reason=lambda: None), SimpleNamespace(outages=())

    assert await readiness(view, monitor) == (200, {"ready": True})


@pytest.mark.parametrize(("token", "status"), [(None, 200), (TOKEN, 303)])
async def test_a_head_request_has_the_status_of_the_page(token: str | None, status: int):
    async with (
        client_of_view(token=token) as client,
        client.head("/orders", allow_redirects=False) as head,
        client.get("/orders", allow_redirects=False) as page,
    ):
        assert (head.status, page.status) == (status, status)


@pytest.mark.parametrize("path", ["/act", "/logout"])
async def test_a_form_sent_after_the_session_ended_says_that_nothing_was_done(path: str):
    async with client_of_view() as client:
        headers = {"Origin": f"http://{client.host}:{client.port}"}
        async with client.post(path, data={"action": "retry", "id": "c-1"}, headers=headers) as answer:
            assert (answer.status, answer.content_type) == (401, "text/html")
            assert "Nothing was done; log in and open the page again." in await answer.text()


@pytest.mark.parametrize("path", ["/login", "/act"])
@pytest.mark.parametrize(("kind", "more", "body"), [
    (f"{FORM}; charset=nonsense", {}, b"token=x"), (f"{FORM}; charset=rot13", {}, b"token=x"),
    (FORM, {}, b"token=\xff"), (PARTS, {}, b"x"), (f"{PARTS}; boundary=abc", {}, b"x"),
    (f"{PARTS}; boundary=abc", {}, INVALID_TRANSFER_ENCODING),
    (FORM, {"Content-Encoding": "gzip"}, b"token=x"),
])  # fmt: skip
async def test_an_unreadable_form_is_refused_in_one_sentence(path: str, kind: str, more: dict[str, str], body: bytes):
    async with client_of_view() as client:
        headers = {"Origin": f"http://{client.host}:{client.port}", "Content-Type": kind, **more}
        async with client.post(path, data=body, headers=headers) as answer:
            assert (answer.status, answer.content_type) == (400, "text/html")
            assert "What was sent cannot be read as a form; nothing was done." in await answer.text()


async def test_a_form_with_an_invalid_origin_is_refused():
    async with (
        client_of_view() as client,
        client.post("/login", data={"token": TOKEN}, headers={"Origin": "http://["}) as answer,
    ):
        assert (answer.status, answer.headers["Cache-Control"]) == (403, "no-store")
        assert "Another site sent this form; nothing was done." in await answer.text()


async def test_a_request_with_an_invalid_host_is_refused():
    async with (
        client_of_view(token=None) as client,
        client.get("/", headers={"Host": "["}) as answer,
    ):
        assert (answer.status, answer.headers["Cache-Control"]) == (421, "no-store")


def test_a_session_signed_without_the_operators_token_is_not_accepted():
    settings = load({**PLACES, "OPS_VIEW_TOKEN": VIEWERS})
    _, forged = Guard(settings).open_session("operator")

    assert Guard(settings).session(forged) is None


def test_a_session_signed_with_the_operators_token_survives_a_restart():
    settings = load({**PLACES, "OPS_TOKEN": TOKEN, "OPS_VIEW_TOKEN": VIEWERS})
    session, cookie = Guard(settings).open_session("viewer")

    assert Guard(settings).session(cookie) == session


@pytest.mark.parametrize(("act", "is_idle", "said"), [
    ("retry", False, "Noted. The command goes out again within a second."),
    ("retry", True, "Noted. The command goes out again as soon as a delivery worker runs: none does now."),
    ("replay", True, "Published again. The ledger judges it as soon as a ledger worker runs: none does now."),
    ("discard", True, "Discarded."),
])  # fmt: skip
async def test_after_an_act_a_page_promises_only_what_a_living_worker_can_do(act: str, is_idle: bool, said: str):
    monitor = SimpleNamespace(dead_letters={}, outages=(), is_idle=lambda _: is_idle)
    async with (
        client_of_view(monitor=monitor, token=None) as client,
        client.get("/orders", params={"noted": act}) as page,
    ):
        assert f'<p class="notice good">{said}</p>' in await page.text()
