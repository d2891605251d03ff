"""Every page can be read and worked by everybody: by keyboard, by a screen reader, on a phone, in light and in dark."""

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, expect

from tests.browser.conftest import Deployment, authorized, invoice, opened, unique

PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="package")
async def pages(deployment: Deployment) -> dict[str, str]:
    """Every page, each with something on it."""
    order = unique("access")
    await deployment.send(authorized(order, 45_000))
    await deployment.until_status(order, "open")
    deployment.next_answers("decline")
    await deployment.send(invoice(order, "NF-1", 20_000), invoice(order, "R-1", 90_000, "Input"))
    await deployment.until_status(order, "attention")
    [command] = await deployment.rows("SELECT command_id FROM delivery.commands WHERE order_id = $1", order)
    [letter] = await deployment.rows("SELECT id FROM ledger.dead_letters WHERE order_id = $1", order)
    await deployment.send(authorized(unique("access")))
    return {
        "now": f"{deployment.open}/",
        "orders": f"{deployment.open}/orders?status=all",
        "found": f"{deployment.open}/orders?q=access",
        "order": f"{deployment.open}/order?id={order}",
        "needs": f"{deployment.open}/needs",
        "command": f"{deployment.open}/command?id={command['command_id']}",
        "dead letters": f"{deployment.open}/dead-letters",
        "dead letter": f"{deployment.open}/dead-letter?id={letter['id']}",
        "act": f"{deployment.open}/act?action=retry&id={command['command_id']}",
        "log-in": f"{deployment.closed}/login",
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_no_page_has_a_fault_that_axe_finds(
    deployment: Deployment, browser: Browser, pages: dict[str, str], scheme: str
) -> None:
    async with opened(browser, color_scheme=scheme, bypass_csp=True) as page:  # axe comes in as a script of its own
        for name, address in pages.items():
            await page.goto(address)
            result = await Axe().run(page)
            assert result.violations_count == 0, f"{name}: {result.generate_report()}"


async def test_no_page_scrolls_sideways_on_a_phone(browser: Browser, pages: dict[str, str]) -> None:
    async with opened(browser, viewport=PHONE, has_touch=True) as page:
        for name, address in pages.items():
            await page.goto(address)
            assert await page.evaluate("document.documentElement.scrollWidth") == PHONE["width"], name


async def test_a_long_count_is_read_to_its_last_digit_on_a_phone(browser: Browser, pages: dict[str, str]) -> None:
    async with opened(browser, viewport=PHONE, has_touch=True) as page:
        await page.goto(pages["act"])  # one that nothing renews
        await page.evaluate("document.querySelectorAll('.count').forEach(one => { one.textContent = ' 12,345'; })")

        for link in await page.get_by_role("navigation", name="Pages").get_by_role("link").all():
            box = await link.bounding_box()
            assert box is not None
            assert 0 <= box["x"] <= box["x"] + box["width"] <= PHONE["width"], await link.inner_text()


async def test_an_order_is_found_and_a_decision_reached_by_keyboard_alone(
    browser: Browser, pages: dict[str, str]
) -> None:
    async with opened(browser) as page:
        await page.goto(pages["now"])
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        await page.goto(pages["needs"])
        again = page.get_by_role("link", name="Ask again").first
        for _ in range(60):
            await page.keyboard.press("Tab")
            if await again.evaluate("one => one === document.activeElement"):
                break
        outline = await again.evaluate("one => getComputedStyle(one).outlineWidth")
        assert outline == "3px"
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="Ask again")).to_be_visible()
        await page.get_by_label("Your name").focus()
        await page.keyboard.type("Ana Souza")
        await page.keyboard.press("Tab")
        await page.keyboard.type("by keyboard")
        await expect(page.get_by_label("Why")).to_have_value("by keyboard")


async def test_each_page_has_one_heading_landmarks_and_a_title_of_its_own(
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
    assert len(titles) >= len(pages) - 1  # the two lists of orders share theirs
