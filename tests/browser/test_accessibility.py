"""Accessibility of every page: keyboard, screen reader, phone, light and dark."""

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, expect

from tests.browser.conftest import OpsDeployment, authorized, opened, unique
from worker.sandbox.erp import invoice

PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="package")
async def pages(ops: OpsDeployment) -> dict[str, str]:
    """The address of every page, by name; each has something to show."""
    order = unique("access")
    await ops.send(authorized(order, 45_000))
    await ops.until_status(order, "open")
    ops.next_answers("decline")
    await ops.send(invoice(order, "NF-1", 20_000), invoice(order, "R-1", 90_000, "Input"))
    await ops.until_status(order, "attention")
    [command] = await ops.rows("SELECT command_id FROM delivery.commands WHERE order_id = $1", order)
    [letter] = await ops.rows("SELECT id FROM ledger.dead_letters WHERE order_id = $1", order)
    await ops.send(authorized(unique("access")))
    return {
        "now": f"{ops.open}/",
        "orders": f"{ops.open}/orders?status=all",
        "found": f"{ops.open}/orders?q=access",
        "order": f"{ops.open}/order?id={order}",
        "needs": f"{ops.open}/needs",
        "command": f"{ops.open}/command?id={command['command_id']}",
        "dead letters": f"{ops.open}/dead-letters",
        "dead letter": f"{ops.open}/dead-letter?id={letter['id']}",
        "act": f"{ops.open}/act?action=retry&id={command['command_id']}",
        "log-in": f"{ops.closed}/login",
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_no_violation_on_any_page(
    ops: OpsDeployment, browser: Browser, pages: dict[str, str], scheme: str
) -> None:
    async with opened(browser, color_scheme=scheme, bypass_csp=True) as page:  # the policy forbids axe's script
        for name, address in pages.items():
            await page.goto(address)
            result = await Axe().run(page)
            assert result.violations_count == 0, f"{name}: {result.generate_report()}"


async def test_no_page_scrolls_sideways_on_a_phone(browser: Browser, pages: dict[str, str]) -> None:
    async with opened(browser, viewport=PHONE, has_touch=True) as page:
        for name, address in pages.items():
            await page.goto(address)
            assert await page.evaluate("document.documentElement.scrollWidth") == PHONE["width"], name


async def test_a_long_count_fits_the_menu_of_a_phone(browser: Browser, pages: dict[str, str]) -> None:
    async with opened(browser, viewport=PHONE, has_touch=True) as page:
        await page.goto(pages["act"])  # the only page that no update changes
        await page.evaluate("document.querySelectorAll('.count').forEach(count => { count.textContent = ' 12,345'; })")

        for link in await page.get_by_role("navigation", name="Pages").get_by_role("link").all():
            box = await link.bounding_box()
            assert box is not None
            assert 0 <= box["x"] <= box["x"] + box["width"] <= PHONE["width"], await link.inner_text()


async def test_an_operator_reaches_and_fills_in_a_decision_by_keyboard_alone(
    browser: Browser, pages: dict[str, str]
) -> None:
    async with opened(browser) as page:
        await page.goto(pages["now"])
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        await page.goto(pages["needs"])
        retry = page.get_by_role("link", name="Ask again").first
        for _ in range(60):
            await page.keyboard.press("Tab")
            if await retry.evaluate("link => link === document.activeElement"):
                break
        outline = await retry.evaluate("link => getComputedStyle(link).outlineWidth")
        assert outline == "3px"
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="Ask again")).to_be_visible()
        await page.get_by_label("Your name").focus()
        await page.keyboard.type("Ana Souza")
        await page.keyboard.press("Tab")
        await page.keyboard.type("by keyboard")
        await expect(page.get_by_label("Why")).to_have_value("by keyboard")


async def test_each_page_has_one_heading_one_main_landmark_and_its_own_title(
    browser: Browser, pages: dict[str, str]
) -> None:
    titles = set()
    async with opened(browser) as page:
        for name, address in pages.items():
            await page.goto(address)
            assert await page.locator("h1").count() == 1, name
            assert await page.locator("main").count() == 1, name
            assert await page.locator("html[lang=en]").count() == 1, name
            titles.add(await page.title())
    assert len(titles) >= len(pages) - 1  # the two lists of orders share a title
