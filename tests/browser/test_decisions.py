"""Decisions in the browser: confirmed first, carried out once, and kept with name and reason."""

from playwright.async_api import Page, expect

from tests.browser.conftest import SECONDS_MAX, VIEWER, OpsDeployment, authorized, unique
from tests.until import until
from worker.sandbox.erp import invoice


async def confirm(page: Page, by: str, reason: str) -> None:
    await page.get_by_label("Your name").fill(by)
    await page.get_by_label("Why").fill(reason)
    await page.locator("button.sure").click()


async def order_needing_operator(ops: OpsDeployment, name: str, answer: str, value: int) -> str:
    """An order that needs an operator, because its connector gave this answer to the first capture."""
    order = unique(name)
    await ops.send(authorized(order))
    await ops.until_status(order, "open")
    ops.next_answers(answer)
    await ops.send(invoice(order, "NF-1", value))
    await ops.until_status(order, "attention")
    return order


async def test_a_rejected_return_is_replayed_after_its_invoice_has_arrived(ops: OpsDeployment, page: Page) -> None:
    order = unique("replay")
    await ops.send(authorized(order), invoice(order, "R-1", 4_000, "Input"))
    await _dead_letter_of(ops, order)
    await ops.send(invoice(order, "NF-1", 10_000))
    await ops.until_status(order, "finished")

    await page.goto(f"{ops.open}/dead-letters?order={order}")
    await page.locator(".letters h2 a").click()
    await page.get_by_role("link", name="Replay", exact=True).click()
    await confirm(page, "Ana Souza", "the sale came after its return")

    await expect(page.locator("#notices")).to_contain_text("Published again")
    await expect(page.locator("#head")).to_contain_text("It was judged again and applied")
    acts = await ops.rows("SELECT * FROM people.acts WHERE order_id = $1", order)
    assert [(act["action"], act["decided_by"], act["reason"], act["through"]) for act in acts] == [
        ("replay", "Ana Souza", "the sale came after its return", "ops view")
    ]
    await until(lambda: ops.site.view.row(order).moved.refunded == 4_000, SECONDS_MAX)


async def test_resolving_a_suspect_capture_shows_the_amount_in_words(ops: OpsDeployment, page: Page) -> None:
    order = await order_needing_operator(ops, "resolve", "echo", 6_050)

    await page.goto(f"{ops.open}/order?id={order}")
    await page.get_by_role("link", name=f"Resolve for {order}").click()
    await page.get_by_label("How much, in BRL").fill("60.50")
    await page.get_by_label("Under which id at the connector").fill("settle-by-phone")
    await page.get_by_role("button", name="It was done").click()
    await expect(page.locator(".amount-check")).to_contain_text("60.50 BRL")
    await expect(page.locator(".amount-check")).to_contain_text("sixty and 50/100 BRL")
    await confirm(page, "Ana Souza", "looked it up at the connector")

    await ops.until_status(order, "open")
    await expect(page.locator("#decisions")).to_contain_text(
        "Ana Souza: resolve as done, 60.50 BRL under settle-by-phone"
    )
    await expect(page.locator("#decisions")).to_contain_text("applied")
    assert ops.site.view.row(order).state.settled == 6_050


async def test_a_declined_capture_is_retried_once_when_the_form_is_sent_twice(ops: OpsDeployment, page: Page) -> None:
    order = await order_needing_operator(ops, "retry", "decline", 6_000)

    await page.goto(f"{ops.open}/needs?need=failed")
    await page.get_by_role("link", name=f"Ask again for {order}").click()
    await expect(page.locator(".amount-check")).to_contain_text("sixty and 00/100 BRL")
    form = await page.evaluate(
        "() => new URLSearchParams(new FormData(document.querySelector('form.decide'))).toString()"
    )
    await confirm(page, "Ana Souza", "the shopper raised the limit")
    await ops.until_status(order, "open")
    status = await page.evaluate(
        """async form => {
            const body = new URLSearchParams(form);
            body.set("by", "Ana Souza");
            body.set("reason", "the shopper raised the limit");
            return (await fetch("/act", { method: "POST", body })).status;
        }""",
        form,
    )

    assert status == 200
    acts = await ops.rows("SELECT * FROM people.acts WHERE order_id = $1", order)
    assert len(acts) == 1
    await until(lambda: ops.site.view.row(order).state.settled == 6_000, SECONDS_MAX)
    commands = await ops.rows("SELECT operation FROM ledger.commands WHERE order_id = $1", order)
    assert len(commands) == 2


async def test_a_dead_letter_is_discarded_with_a_reason(ops: OpsDeployment, page: Page) -> None:
    order = unique("discard")
    await ops.send(invoice(order, "NF-1", -5))
    letter = await _dead_letter_of(ops, order)
    await page.goto(f"{ops.open}/act?action=discard&id={letter}")
    await confirm(page, "Ana Souza", "a typing error of the ERP")
    await expect(page.locator("#head")).to_contain_text("discarded")
    answer = await page.request.get(f"{ops.open}/act?action=discard&id={letter}")
    assert (answer.status, "was discarded by Ana Souza already" in await answer.text()) == (409, True)


async def test_a_viewer_can_read_but_not_decide(ops: OpsDeployment, page: Page) -> None:
    order = await order_needing_operator(ops, "viewer", "manual", 1_000)

    await page.goto(f"{ops.closed}/order?id={order}")
    await page.get_by_label("Token").fill(VIEWER)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.locator("#needing")).to_contain_text("manual")
    await expect(page.get_by_role("link", name="Resolve")).to_have_count(0)

    command = (await ops.rows("SELECT command_id FROM delivery.commands WHERE order_id = $1", order))[0][0]
    answer = await page.request.get(f"{ops.closed}/act?action=resolve&id={command}")
    assert answer.status == 403


async def _dead_letter_of(ops: OpsDeployment, order: str) -> int:
    """Waits for the dead letter of the order's only bad message; its number."""
    query = "SELECT id FROM ledger.dead_letters WHERE key = $1"
    [letter] = await until(lambda: ops.rows(query, order.encode()), SECONDS_MAX)
    return int(letter["id"])
