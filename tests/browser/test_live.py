"""Live pages: an open page shows changes by itself, and a hidden page fetches nothing."""

import contextlib
from collections.abc import AsyncIterator

import pytest
from asyncpg import Connection
from playwright.async_api import Browser, Page, expect

from tests.browser.conftest import OPERATOR, OpsDeployment, authorized, opened, unique
from tests.until import until
from worker.ops import orders as order_pages
from worker.sandbox.erp import invoice


async def test_open_pages_show_a_new_order_and_its_captures_without_reloading(
    ops: OpsDeployment, browser: Browser
) -> None:
    order = unique("live")
    async with opened(browser) as now, opened(browser) as orders, opened(browser) as detail:
        await now.goto(ops.open)
        await orders.goto(f"{ops.open}/orders")
        await expect(orders.locator("#live")).to_have_text("Live")
        await ops.send(authorized(order, 45_000))
        await expect(orders.get_by_role("link", name=order)).to_be_visible()

        await detail.goto(f"{ops.open}/order?id={order}")
        await expect(detail.locator("#used")).to_contain_text("450.00 BRL authorized")
        await ops.send(invoice(order, "NF-1", 20_000))

        await expect(detail.locator("#used .legend")).to_contain_text("settled")
        await expect(detail.locator("#invoices")).to_contain_text("settled")
        await expect(detail.get_by_role("img", name="settled 200.00, open 250.00").first).to_be_visible()
        await expect(detail.locator("#timeline")).to_contain_text("Settled 200.00")
        await expect(detail.locator("#requests")).to_contain_text("succeeded")
        await expect(now.locator("#money")).to_contain_text("captured today")
        await expect(now.locator("#connectors")).to_contain_text("cielo")


async def test_a_hidden_page_pauses_and_catches_up_when_it_is_visible_again(ops: OpsDeployment, page: Page) -> None:
    order = unique("hidden")
    await page.goto(f"{ops.open}/orders")
    await expect(page.locator("#live")).to_have_text("Live")
    await _set_hidden(page, hidden=True)
    await expect(page.locator("#live")).to_have_text("Paused")

    await ops.send(authorized(order))
    await ops.until_status(order, "open")
    await expect(page.get_by_role("link", name=order)).to_have_count(0)
    await _set_hidden(page, hidden=False)

    await expect(page.get_by_role("link", name=order)).to_be_visible()
    await expect(page.locator("#live")).to_have_text("Live")


async def test_an_update_keeps_the_focus_and_the_opened_details(ops: OpsDeployment, page: Page) -> None:
    first, second = unique("kept"), unique("kept")
    await ops.send(authorized(first))
    await ops.until_status(first, "open")
    await page.goto(f"{ops.open}/orders")
    await page.get_by_role("link", name=first).focus()
    await ops.send(authorized(second))
    await expect(page.get_by_role("link", name=second)).to_be_visible()
    await expect(page.get_by_role("link", name=first)).to_be_focused()

    await page.goto(ops.open)
    await page.get_by_text("By partition", exact=True).click()
    await ops.send(invoice(first, "NF-1", 100))
    await until(lambda: ops.site.view.row(first).state.settled == 100, 120)
    await expect(page.locator("#lag-table")).to_have_attribute("open", "")


async def test_an_open_order_page_shows_that_it_needs_an_operator_until_one_has_decided(
    ops: OpsDeployment, browser: Browser
) -> None:
    order = unique("needing")
    await ops.send(invoice(order, "NF-1", 6_000))  # waits for its order: no money is authorized yet
    async with opened(browser) as detail, opened(browser) as colleague:
        await _until_parked(ops, order)
        await detail.goto(f"{ops.open}/order?id={order}")
        await expect(detail.locator("#live")).to_have_text("Live")
        await expect(detail.locator("#needing")).to_be_hidden()
        ops.next_answers("manual")
        await ops.send(authorized(order))

        await expect(detail.locator("#needing")).to_contain_text("manual 60.00 BRL")
        await expect(detail.locator("#used")).to_contain_text("100.00 BRL authorized")
        await expect(detail.locator("#invoices")).to_contain_text("NF-1")
        await expect(detail.locator("#cents")).to_contain_text("60.00 BRL")

        await colleague.goto(f"{ops.open}/order?id={order}")
        await colleague.get_by_role("link", name=f"Resolve for {order}").click()
        await colleague.get_by_label("How much, in BRL").fill("60.00")
        await colleague.get_by_label("Under which id at the connector").fill("by-hand")
        await colleague.get_by_role("button", name="It was done").click()
        await colleague.get_by_label("Your name").fill("Ana Souza")
        await colleague.get_by_label("Why").fill("did it by hand")
        await colleague.locator("button.sure").click()

        await expect(detail.locator("#needing")).to_be_hidden()


async def test_a_long_order_page_shows_the_latest_rows_and_all_of_them_on_request(
    ops: OpsDeployment, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order_pages, "LATEST_MAX", 2)
    order = unique("long")
    await ops.send(authorized(order), *(invoice(order, f"NF-{number}", 2_500) for number in range(1, 5)))
    await ops.until_status(order, "finished")
    await page.goto(f"{ops.open}/order?id={order}")

    for part in ("invoices", "requests", "timeline", "cents"):
        await expect(page.locator(f"#{part} > .quiet", has_text="The latest 2 of")).to_be_visible()
    await expect(page.locator("#invoices tbody th")).to_have_text(["NF-3", "NF-4"])
    await page.get_by_role("link", name="show all invoices").click()

    await expect(page.locator("#invoices tbody th")).to_have_text(["NF-1", "NF-2", "NF-3", "NF-4"])
    await expect(page.locator("#timeline")).to_contain_text("Order")


async def test_a_page_shows_that_the_connection_is_lost_and_when_it_is_live_again(
    ops: OpsDeployment, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, later = unique("away"), unique("away")
    await ops.send(authorized(order))
    await ops.until_status(order, "open")
    page = await browser.new_page()  # without `opened`: its errors are expected here
    await page.goto(f"{ops.open}/needs")
    await expect(page.locator("#live")).to_have_text("Live")

    @contextlib.asynccontextmanager
    async def refused() -> AsyncIterator[Connection]:
        raise ConnectionRefusedError
        yield

    with monkeypatch.context() as outage:
        outage.setattr(ops.site.reader, "snapshot", refused)
        await ops.send(authorized(later))
        await expect(page.locator("#live")).to_contain_text("Connection lost")

    await expect(page.locator("#live")).to_have_text("Live")
    await page.close()


async def test_an_expired_session_is_redirected_to_login_and_shows_no_stale_figures(
    ops: OpsDeployment, browser: Browser
) -> None:
    page = await browser.new_page()
    await page.goto(ops.closed)
    await page.get_by_label("Token").fill(OPERATOR)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.locator("#live")).to_have_text("Live")

    await page.context.clear_cookies()
    await ops.send(authorized(unique("news")))

    await expect(page.get_by_label("Token")).to_be_visible()
    await page.close()


async def test_a_page_whose_update_stream_is_refused_reloads_itself(ops: OpsDeployment, browser: Browser) -> None:
    page = await browser.new_page()
    await page.goto(ops.open)
    await expect(page.locator("#live")).to_have_text("Live")
    await _set_hidden(page, hidden=True)
    await expect(page.locator("#live")).to_have_text("Paused")

    await page.context.clear_cookies()  # as after a restart of the ops view, which forgets its sessions
    await _set_hidden(page, hidden=False)

    await expect(page.locator("#live")).to_have_text("Live")
    await page.close()


async def _until_parked(ops: OpsDeployment, order_id: str) -> None:
    """Waits until the ledger has parked the invoice of the unknown order."""

    async def is_parked() -> bool:
        return bool(await ops.rows("SELECT 1 FROM ledger.parked WHERE order_id = $1", order_id))

    await until(is_parked, 60)


async def _set_hidden(page: Page, *, hidden: bool) -> None:
    await page.evaluate(
        """hidden => {
            Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )
