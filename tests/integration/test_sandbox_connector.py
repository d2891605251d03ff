"""The sandbox connector fails as planned, and its book records what really happened."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from aiohttp import web

from worker.connector.book import BookError, Effect, read_book
from worker.sandbox.book import Book
from worker.sandbox.connector import FAULTS, Behaviour, SandboxConnector

REQUEST = {"requestId": "r1", "paymentId": "p1", "transactionId": "t", "authorizationId": "a", "value": 60.0}


@pytest.fixture
async def url(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    behaviour = getattr(request, "param", Behaviour(currency="USD"))
    runner = web.AppRunner(SandboxConnector(Book(), behaviour).application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def post(url: str, path: str, content: Any) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.post(url + path, json=content)


async def settle(url: str, request_id: str = "r1") -> httpx.Response:
    return await post(url, "/payments/p1/settlements", {**REQUEST, "requestId": request_id})


async def test_a_repeated_request_is_answered_and_moves_no_money(url: str):
    first, second = await settle(url), await settle(url)

    assert (first.status_code, first.json()) == (200, second.json())
    assert await read_book(url) == [Effect("settle", "p1", "r1", 6_000)]


@pytest.mark.parametrize(("word", "status", "effects"), [
    ("error", 500, 0), ("decline", 400, 0), ("manual", 501, 0), ("busy", 429, 0), ("forbidden", 403, 0),
    ("echo", 200, 1), ("short", 200, 1), ("ok", 200, 1),
])  # fmt: skip
async def test_a_planned_fault_happens_to_the_next_request(url: str, word: str, status: int, effects: int):
    await post(url, "/faults", {"next": [word]})

    assert (await settle(url)).status_code == status
    assert len(await read_book(url)) == effects
    assert (await settle(url, "r2")).status_code == 200


async def test_a_request_whose_reply_is_lost_has_its_effect(url: str):
    await post(url, "/faults", {"next": ["lost"]})

    with pytest.raises(httpx.HTTPError):
        await settle(url)
    assert len(await read_book(url)) == 1


async def test_a_cancellation_is_never_short_because_its_reply_has_no_value(url: str):
    await post(url, "/faults", {"next": ["short", "short"]})
    await settle(url)
    await post(url, "/payments/p1/cancellations", {**REQUEST, "requestId": "r2", "value": 4_000})

    assert [(effect.operation, effect.value) for effect in await read_book(url)] == [
        ("settle", 3_000),
        ("cancel", 4_000),
    ]


async def test_a_connector_that_forgets_moves_the_money_again(url: str):
    await settle(url)
    await post(url, "/faults", {"next": ["forget"]})
    await settle(url)

    assert [effect.request_id for effect in await read_book(url)] == ["r1", "r1"]


async def test_a_fault_for_all_requests_ends_after_its_seconds(url: str):
    await post(url, "/faults", {"all": "error", "for_seconds": 60})
    assert [(await settle(url)).status_code for _ in range(3)] == [500] * 3

    await post(url, "/faults", {"all": "error", "for_seconds": 0})
    assert (await settle(url)).status_code == 200


async def test_the_connector_can_capture_automatically(url: str):
    reply = await post(url, "/auto-settle", {"paymentId": "p1", "value": 500})

    assert reply.json()["value"] == 500
    assert (await read_book(url))[0].value == 500


@pytest.mark.parametrize(
    "url", [Behaviour(rates={"decline": 1.0}), Behaviour(rates={"error": 0.0, "decline": 1.0})], indirect=True
)
async def test_faults_given_as_rates_happen_at_random(url: str):
    assert (await settle(url)).status_code == 400


@pytest.mark.parametrize("url", [Behaviour(per_second=0.5)], indirect=True)
async def test_requests_above_the_rate_limit_are_answered_with_retry_after(url: str):
    first, second = await settle(url), await settle(url, "r2")

    assert (first.status_code, second.status_code) == (200, 429)
    assert int(second.headers["Retry-After"]) >= 1


async def test_an_unknown_fault_is_answered_with_the_known_ones(url: str):
    reply = await post(url, "/faults", {"next": ["explode"]})

    assert (reply.status_code, reply.json()["unknown"], reply.json()["known"]) == (400, ["explode"], FAULTS)


async def test_a_book_that_cannot_be_read_is_reported_in_one_sentence(url: str):
    with pytest.raises(BookError, match="/nowhere/book answers 404: only the sandbox has a book") as error:
        await read_book(f"{url}/nowhere")
    with pytest.raises(BookError, match="/book cannot be read: All connection attempts failed"):
        await read_book("http://127.0.0.1:9")

    assert "For more information" not in str(error.value), "httpx refers to a page about status codes"
