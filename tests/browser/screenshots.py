"""`make screenshots`: takes screenshots of a working deployment, in the widths of a desktop and of a phone."""

import asyncio
import json
import os
import secrets
import tempfile
import urllib.request
from functools import partial
from pathlib import Path

from playwright.async_api import Browser, async_playwright

from tests.browser.conftest import ARGUMENTS, CHROMIUM, authorized, changed
from tests.sandboxes import SECONDS_MAX, until_done
from tests.until import until
from worker import stack
from worker.sandbox.deployment import CONNECTORS, Sandbox
from worker.sandbox.erp import ErpOrder, Message, erp_orders, invoice
from worker.sandbox.erp_command import publish

FOLDER = Path(__file__).parents[2] / "docs" / "screenshots"
SIZES = {"desk": {"width": 1280, "height": 900}, "phone": {"width": 360, "height": 780}}
HEIGHT_MAX = 1_600
ORDERS = 200
PER_SECOND = 1.2
# The pages also show an order with an event of every kind, and orders that wait for an operator.
SHOWN = "BR-1042-7731"
TROUBLED = {"BR-1042-7738": "decline", "BR-1042-7745": "manual", "BR-1042-7752": "echo"}


async def main() -> None:
    """Runs everything in a scratch home and stops what it started."""
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        named = {name: os.environ[name] for name in ("KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL") if name in os.environ}
        own = len(named) < 2
        try:
            await _play(home, stack.up(home).as_settings() if own else named)
        finally:
            if own:
                stack.down(home)


async def _play(home: Path, environment: dict[str, str]) -> None:
    os.environ["OPS_PORT"] = "0"
    orders = list(erp_orders(ORDERS, sorted(CONNECTORS), 3, "BR-2209"))
    async with Sandbox(f"photo{secrets.token_hex(2)}", home, environment) as sandbox:
        address = await sandbox.open_ops_view()
        await publish(sandbox.settings, orders, PER_SECOND)
        await until_done(sandbox, orders)
        await _send_failing_orders(sandbox)
        await _send_eventful_order(sandbox)
        await publish(sandbox.settings, erp_orders(3, sorted(CONNECTORS), 5, "BR-3307"))
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            await _photograph(browser, address, sandbox)
            await browser.close()


async def _send_eventful_order(sandbox: Sandbox) -> None:
    """Two sales, a discount and a return; part of the order is still to be invoiced."""
    order = SHOWN
    facts = [
        authorized(order, 48_990, "livraria-andrade", tid="t-1"), invoice(order, "NF-000381", 18_990),
        changed(order, "c-1", 4_000, "one piece was out of stock"), invoice(order, "NF-000382", 12_500),
        invoice(order, "DEV-000017", 6_500, "Input"),
    ]  # fmt: skip
    for fact in facts:
        await _send(sandbox, fact)
        await asyncio.sleep(1.2)


async def _send_failing_orders(sandbox: Sandbox) -> None:
    for order, word in TROUBLED.items():
        await _send(sandbox, authorized(order, 18_990, "casa-lima"))
        body = json.dumps({"next": [word]}).encode()
        urllib.request.urlopen(f"{sandbox.urls['cielo']}/faults", body, timeout=10).close()  # noqa: ASYNC210 - loopback
        await _send(sandbox, invoice(order, "NF-000412", 12_990))
        await until(partial(_needs_attention, sandbox, order), SECONDS_MAX)
    await _send(sandbox, invoice("BR-1042-7738", "DEV-000021", 90_000, "Input"))
    await _send(sandbox, invoice("BR-1042-7738", "NF-000413", "24.99"))  # type: ignore[arg-type]  # as some ERPs do
    await asyncio.sleep(2.5)


def _needs_attention(sandbox: Sandbox, order: str) -> bool:
    state = sandbox.poll().orders.get(order)
    return state is not None and state["status"] == "attention"


async def _send(sandbox: Sandbox, message: Message) -> None:
    await publish(sandbox.settings, [ErpOrder(message.order_id, (message,), 0, 0)])


async def _photograph(browser: Browser, address: str, sandbox: Sandbox) -> None:
    state = sandbox.poll().orders["BR-1042-7752"]
    command = state["attention"][0]["commandId"]  # type: ignore[index]
    pages = {
        "now": "/", "orders": "/orders", "order": f"/order?id={SHOWN}", "needs": "/needs",
        "resolve": f"/act?action=resolve&id={command}&result=done&value=129.90&operation=9f2c-71",
        "dead-letters": "/dead-letters",
    }  # fmt: skip
    FOLDER.mkdir(parents=True, exist_ok=True)
    for size, viewport in SIZES.items():
        for scheme in ("light", "dark"):
            context = await browser.new_context(viewport=viewport, color_scheme=scheme)  # type: ignore[arg-type]
            page = await context.new_page()
            for name, path in pages.items():
                if scheme == "dark" and name not in ("now", "order"):
                    continue
                await page.goto(address + path)
                await page.wait_for_timeout(1_500)
                file = FOLDER / f"{name}-{size}{'-dark' if scheme == 'dark' else ''}.png"
                height = min(HEIGHT_MAX, await page.evaluate("document.documentElement.scrollHeight"))
                clip = {"x": 0, "y": 0, "width": viewport["width"], "height": height}
                await page.screenshot(path=file, full_page=True, clip=clip)  # type: ignore[arg-type]
            await context.close()


if __name__ == "__main__":
    asyncio.run(main())
