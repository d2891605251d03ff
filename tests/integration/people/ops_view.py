"""The pages of the ops view on the ledger's database, without the live view."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from html import unescape
from typing import Any

from aiohttp.test_utils import TestClient

from tests.integration.ledger.harness import LedgerHarness
from tests.pages import client_of_pages
from worker.ops.reading import Reader
from worker.settings import Secret


@asynccontextmanager
async def ops_view(ledger: LedgerHarness, database: Secret | None = None) -> AsyncIterator[TestClient[Any, Any]]:
    settings = replace(ledger.settings, database_url=database or ledger.settings.database_url)
    reader = Reader(settings.database)
    await reader.start()
    async with client_of_pages(settings, reader) as client:
        yield client
    await reader.stop()


async def shown(client: TestClient[Any, Any], path: str, **query: str) -> str:
    """The text of a page, without its markup."""
    async with client.get(path, params=query) as answer:
        return " ".join(re.sub("<[^>]*>", " ", unescape(await answer.text())).split())
