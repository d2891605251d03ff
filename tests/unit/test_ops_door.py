"""What the ops view says to whoever has no session, and where whoever has logged in is led."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from worker.ops.guard import Guard
from worker.ops.reading import Reader
from worker.ops.server import Server
from worker.ops.site import Site
from worker.ops.totals import Totals
from worker.ops.view import View
from worker.settings import load

TOKEN = "operator-token-of-the-tests"
VIEWERS = "viewers-token-of-the-tests"
PLACES = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "DATABASE_URL": "postgresql://u:p@127.0.0.1:9/d"}


@asynccontextmanager
async def door(view: Any = None, around: Any = None) -> AsyncIterator[TestClient[Any, Any]]:
    """An ops view that asks for a token, in front of nothing."""
    settings = load({**PLACES, "OPS_TOKEN": TOKEN})
    site = Site(settings, Guard(settings), view, around, Reader(settings.database))
    async with TestClient(TestServer(Server(site).application())) as client:
        yield client


async def place_after_login(to: str) -> str:
    async with door() as client:
        headers = {"Origin": f"http://{client.host}:{client.port}"}
        form = {"token": TOKEN, "to": to}
        async with client.post("/login", data=form, headers=headers, allow_redirects=False) as answer:
            assert answer.status == 303
            return answer.headers["Location"]


async def readiness(view: Any, around: Any) -> tuple[int, Any]:
    async with door(view, around) as client, client.get("/ready") as answer:
        return answer.status, await answer.json()


@pytest.mark.parametrize("to", ["/", "/orders?status=open", "/order?id=a%26b%0A%C3%A9", "/order?id=//x"])
async def test_it_goes_on_with_the_page_that_was_asked_for(to: str):
    assert await place_after_login(to) == to


@pytest.mark.parametrize("to", [
    "//evil.example", "/\\evil.example", "https://evil.example", "evil.example", "", "/\t/evil.example",
    "/\n/evil.example", "/\r\n/evil.example", "\t//evil.example", "/\t\\evil.example", "/\x7f/evil.example", "//[",
])  # fmt: skip
async def test_what_would_be_another_site_leads_to_the_first_page(to: str):
    assert await place_after_login(to) == "/"


async def test_to_whoever_has_no_session_nothing_is_said_of_what_the_database_or_kafka_answered():
    said = 'password authentication failed for user "ops"'
    crashed: Any = SimpleNamespace(app=SimpleNamespace(crashed=True, crash_reason=RuntimeError(said)))
    view = SimpleNamespace(missing=lambda: View.missing(crashed))

    assert await readiness(view, SimpleNamespace(problem=f"InvalidPasswordError: {said}")) == (503, {
        "ready": False, "view": "the view has crashed; the log says why",
        "around": "the last look at the database and the brokers failed; the log says why",
    })  # fmt: skip


async def test_a_view_that_lacks_nothing_is_ready():
    view, around = SimpleNamespace(missing=lambda: None), SimpleNamespace(problem=None)

    assert await readiness(view, around) == (200, {"ready": True})


@pytest.mark.parametrize("path", ["/act", "/logout"])
async def test_a_form_sent_after_its_session_is_over_says_that_nothing_was_done(path: str):
    view = SimpleNamespace(totals=Totals(), missing=lambda: None)
    around = SimpleNamespace(dead_letters={}, problem=None)
    async with door(view, around) as client:
        headers = {"Origin": f"http://{client.host}:{client.port}"}
        async with client.post(path, data={"action": "retry", "id": "c-1"}, headers=headers) as answer:
            assert (answer.status, answer.content_type) == (401, "text/html")
            assert "Nothing was done; log in and open the page again." in await answer.text()


def test_whoever_knows_the_viewers_token_alone_cannot_write_an_operators_session():
    settings = load({**PLACES, "OPS_VIEW_TOKEN": VIEWERS})
    _, forged = Guard(settings).open_session("operator")

    assert Guard(settings).session(forged) is None


def test_a_session_outlasts_a_restart_where_the_operators_token_signs_it():
    settings = load({**PLACES, "OPS_TOKEN": TOKEN, "OPS_VIEW_TOKEN": VIEWERS})
    session, cookie = Guard(settings).open_session("viewer")

    assert Guard(settings).session(cookie) == session
