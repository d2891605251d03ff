"""Hostile strings in ids, numbers, names and reasons: pages show them as text and keep their layout."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.async_api import Browser, Page

from tests.browser.conftest import OpsDeployment, authorized, changed, opened
from tests.until import until
from worker.sandbox.erp import invoice

# Strings that have broken web pages elsewhere; those that are scripts set `window.broken` if they run.
HOSTILE: tuple[str, ...] = tuple(json.loads(Path(__file__).with_name("hostile.json").read_text("utf-8")))
TABS = 3
PHONE = {"viewport": {"width": 360, "height": 740}}


@pytest.mark.timeout(900)
async def test_fifty_hostile_strings_run_no_script_and_break_no_layout(ops: OpsDeployment, browser: Browser) -> None:
    await asyncio.gather(*(_send_order(ops, text) for text in HOSTILE))
    await until(lambda: all(_is_settled(ops, text) for text in HOSTILE), 400)
    letters = await ops.rows("SELECT id, order_id FROM ledger.dead_letters WHERE reason = 'rejected'")
    commands = await ops.rows("SELECT command_id, order_id FROM delivery.commands")
    pages = [("/", ""), ("/orders?status=all", ""), ("/needs", ""), ("/dead-letters", "")]
    for number, text in enumerate(HOSTILE):
        letter = next(row["id"] for row in letters if row["order_id"] == text)
        command = next(row["command_id"] for row in commands if row["order_id"] == text)
        # The lists show every string; each also has its own order page, and one of the pages that quote it.
        quoting = [
            (f"/orders?{urlencode({'q': text, 'status': text, 'merchant': text})}", "h1 .id"),
            (f"/dead-letter?id={letter}", ".pairs a.id"),
            (f"/command?id={command}", "#head a.id"),
        ]
        pages += [(f"/order?{urlencode({'id': text})}", "h1 .id"), quoting[number % len(quoting)]]
    # The tabs share the pages.
    await asyncio.gather(*(_visit(ops, browser, pages[tab::TABS]) for tab in range(TABS)))


async def _send_order(ops: OpsDeployment, text: str) -> None:
    payment = f"hostile-{HOSTILE.index(text)}"
    await ops.send(
        authorized(text, merchant=text, paymentId=payment),
        invoice(text, text, 1_000),
        changed(text, text, 500, text),
        invoice(text, f"{text} R"[-256:], 9_000, "Input"),
    )


def _is_settled(ops: OpsDeployment, text: str) -> bool:
    row = ops.site.view.row(text)
    return row is not None and row.state is not None and row.state.settled == 1_000 and row.state.value == 9_500


async def _visit(ops: OpsDeployment, browser: Browser, pages: Sequence[tuple[str, str]]) -> None:
    async with opened(browser, **PHONE) as page:
        for path, selector in pages:
            answer = await page.goto(ops.open + path, wait_until="domcontentloaded")
            assert answer is not None
            assert answer.status in (200, 303), path
            await _assert_intact(page, path)
            if selector and "q=" not in path:
                shown = await page.locator(selector).first.text_content()
                assert shown in HOSTILE, (path, shown)


async def _assert_intact(page: Page, path: str) -> None:
    state = await page.evaluate(
        """() => ({
            ran: "broken" in window,
            wide: document.documentElement.scrollWidth,
            scripts: document.scripts.length,
            main: getComputedStyle(document.querySelector("main")).display,
        })"""
    )
    assert state == {"ran": False, "wide": 360, "scripts": 1, "main": "grid"}, path
