"""Open pages are told of every change that they show."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from tests.pages import EMPTY_VIEW, client_of_pages
from worker.ops import updates
from worker.ops.monitor import Outage
from worker.settings import load

CHANGE = b"event: change\ndata: \n\n"


def lose_kafka(_: Any, monitor: Any) -> None:
    monitor.outages = (Outage("Orders", "Kafka did not answer in time", None),)
    monitor.revision += 1


def lose_partitions(view: Any, _: Any) -> None:
    view.incomplete_reason = lambda: "6 partitions are with another ops view of this group"


@pytest.mark.parametrize("path", ["/stream", "/stream?order=o1"])
@pytest.mark.parametrize("happens", [lose_kafka, lose_partitions])
async def test_an_open_page_is_told_that_it_is_out_of_date(
    path: str, happens: Callable[[Any, Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(updates, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(updates, "PAUSE_SECONDS", 0.01)
    live = {"changed": asyncio.Condition(), "revision": 0, "row": lambda _: None}
    view = SimpleNamespace(**vars(EMPTY_VIEW), **live)
    monitor = SimpleNamespace(dead_letters={}, outages=(), revision=0)
    settings = load({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "DATABASE_URL": "postgresql://u:p@127.0.0.1:9/d"})
    async with (
        asyncio.timeout(5),
        client_of_pages(settings, SimpleNamespace(), view, monitor) as client,
        client.get("/orders"),  # opens a session
        client.get(path) as stream,
    ):
        await stream.content.readuntil(b"\n\n")

        happens(view, monitor)

        assert await stream.content.readuntil(b"\n\n") == CHANGE
