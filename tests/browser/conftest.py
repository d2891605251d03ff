"""Fixtures of the browser tests: a whole deployment, its ops view and a real Chromium."""

import json
import os
import secrets
import shutil
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from tests.until import until
from worker.ops.guard import Guard
from worker.ops.monitor import DeploymentMonitor
from worker.ops.reading import Reader
from worker.ops.server import Server
from worker.ops.site import Site
from worker.ops.view import View
from worker.sandbox.deployment import Sandbox
from worker.sandbox.erp import ErpOrder, Message
from worker.sandbox.erp_command import publish
from worker.settings import load
from worker.stack import StackEnv

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
OPERATOR, VIEWER = "operator-token-of-the-tests", "viewer-token-of-the-tests"
SECONDS_MAX = 60
PATIENCE_MS = SECONDS_MAX * 1000
expect.set_options(timeout=PATIENCE_MS)
CHANGES = "erp.order-changes.v1"


@dataclass(slots=True)
class OpsDeployment:
    """Workers, connectors and two ops views: the one at `open` needs no token, the one at `closed` does."""

    sandbox: Sandbox
    site: Site
    open: str
    closed: str

    async def send(self, *messages: Message) -> None:
        """Publishes messages of one order, in this order, as the ERP does."""
        await publish(self.sandbox.settings, [ErpOrder(messages[0].order_id, messages, 0, 0)])

    def next_answers(self, *words: str, connector: str = "cielo") -> None:
        """Plans the sandbox connector's faults for the next requests."""
        body = json.dumps({"next": words}).encode()
        with urllib.request.urlopen(f"{self.sandbox.urls[connector]}/faults", body, timeout=10) as reply:
            assert reply.status == 200

    async def rows(self, query: str, *arguments: Any) -> list[Any]:
        connection = await asyncpg.connect(self.sandbox.environment["DATABASE_URL"])
        try:
            return list(await connection.fetch(query, *arguments))
        finally:
            await connection.close()

    async def until_status(self, order_id: str, status: str) -> None:
        """Waits until the view shows the order in this status."""

        def is_shown() -> bool:
            row = self.site.view.row(order_id)
            return row is not None and row.state is not None and row.state.status == status

        await until(is_shown, SECONDS_MAX, f"order {order_id} is {status}")


@pytest.fixture(scope="package")
async def ops(stack: StackEnv, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OpsDeployment]:
    name = f"browser_{secrets.token_hex(3)}"
    environment = {**stack.as_settings(), "TOPIC_PARTITIONS": "4"}
    async with Sandbox(name, tmp_path_factory.mktemp("browser"), environment) as sandbox:
        settings = sandbox.settings
        reader, guard = Reader(settings.database), Guard(settings)
        view = View(settings)
        site = Site(settings, guard, view, DeploymentMonitor(settings, reader), reader)
        closed = Site(settings, Guard(load({**sandbox.environment, "OPS_TOKEN": OPERATOR, "OPS_VIEW_TOKEN": VIEWER})),
                      view, site.monitor, reader)  # fmt: skip
        servers = [Server(site), Server(closed)]
        await reader.start()
        await view.start()
        await site.monitor.start()
        for server in servers:
            await server.start(0)
        try:
            yield OpsDeployment(sandbox, site, servers[0].address, servers[1].address)
        finally:
            for server in servers:
                await server.stop()
            await site.monitor.stop()
            await view.stop()
            await reader.stop()


@pytest.fixture(scope="package")
async def browser() -> AsyncIterator[Browser]:
    if CHROMIUM is None:
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("the pages were NOT tested, as no Chromium was found; the command that helps: apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        await browser.close()


@asynccontextmanager
async def opened(browser: Browser, **options: Any) -> AsyncIterator[Page]:
    """A page in a new browser context; any error or warning of the browser fails the test."""
    context: BrowserContext = await browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    context.set_default_timeout(PATIENCE_MS)
    page = await context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(f"error: {error}"))
    page.on("console", lambda line: problems.append(line.text) if line.type in ("error", "warning") else None)
    page.on("dialog", lambda dialog: problems.append(f"dialog: {dialog.message}"))
    page.on(
        "request", lambda request: problems.append(f"went to {request.url}") if not _is_local(request.url) else None
    )
    try:
        yield page
    finally:
        await context.close()
    assert not problems, problems


def _is_local(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "http://localhost:", "about:"))


@pytest.fixture
async def page(browser: Browser) -> AsyncIterator[Page]:
    async with opened(browser) as page:
        yield page


def authorized(order_id: str, value: int = 10_000, merchant: str = "shop", connector: str = "cielo", **more: Any
               ) -> Message:  # fmt: skip
    payment = {"paymentId": f"{order_id}-p"[-256:], "transactionId": "T", "authorizationId": "A",
               "connector": connector, "value": value} | more  # fmt: skip
    return Message(CHANGES, "order.authorized", {
        "orderId": order_id, "merchant": merchant, "currency": "BRL", "value": value, "payments": [payment],
    })  # fmt: skip


def changed(order_id: str, request_id: str, discount: int, reason: str) -> Message:
    return Message(CHANGES, "order.changed", {
        "orderId": order_id, "requestId": request_id, "reason": reason, "discountValue": discount, "incrementValue": 0,
    })  # fmt: skip


def unique(name: str) -> str:
    return f"{name}-{secrets.token_hex(3)}"
