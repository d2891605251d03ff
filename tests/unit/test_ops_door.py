"""Whoever has logged in comes back to the page that was asked for, and never to another site."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from worker.ops.guard import Guard
from worker.ops.reading import Reader
from worker.ops.server import Server
from worker.ops.site import Site
from worker.settings import load

TOKEN = "operator-token-of-the-tests"


async def place_after_login(to: str) -> str:
    settings = load({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "DATABASE_URL": "postgresql://u:p@127.0.0.1:9/d",
                     "OPS_TOKEN": TOKEN})  # fmt: skip
    nothing: Any = SimpleNamespace()
    site = Site(settings, Guard(settings), nothing, nothing, Reader(settings.database))
    async with TestClient(TestServer(Server(site).application())) as client:
        headers = {"Origin": f"http://{client.host}:{client.port}"}
        form = {"token": TOKEN, "to": to}
        async with client.post("/login", data=form, headers=headers, allow_redirects=False) as answer:
            assert answer.status == 303
            return answer.headers["Location"]


@pytest.mark.parametrize("to", ["/", "/orders?status=open", "/order?id=a%26b%0A%C3%A9", "/order?id=//x"])
async def test_it_goes_on_with_the_page_that_was_asked_for(to: str):
    assert await place_after_login(to) == to


@pytest.mark.parametrize("to", [
    "//evil.example", "/\\evil.example", "https://evil.example", "evil.example", "", "/\t/evil.example",
    "/\n/evil.example", "/\r\n/evil.example", "\t//evil.example", "/\t\\evil.example", "/\x7f/evil.example", "//[",
])  # fmt: skip
async def test_what_would_be_another_site_leads_to_the_first_page(to: str):
    assert await place_after_login(to) == "/"
