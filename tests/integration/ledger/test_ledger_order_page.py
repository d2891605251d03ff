"""`settlement order`: what a person sees of one order."""

import io

from rich.console import Console

from tests.integration.ledger.world import LedgerWorld, authorized, invoice
from worker.console.order import show_order
from worker.people.orders import read_order


async def test_the_page_shows_balances_invoices_timeline_and_what_was_asked(ledger: LedgerWorld):
    await ledger.apply("order.authorized", authorized("o1"))
    await ledger.apply("invoice.issued", invoice("o1", "A[1]", 6000))
    console = Console(record=True, width=250, file=io.StringIO())

    page = await read_order(ledger.connection, "o1")
    assert page is not None
    show_order(console, page, explain=True)

    text = console.export_text()
    for expected in ("order o1 of shop, PARTIAL: open", "A[1]", "settlement.requested", "settle 60.00", "on its way",
                     "invoice.issued", "erp.invoices.v1["):  # fmt: skip
        assert expected in text
    assert page.as_json(explain=False).keys() == {
        "order", "timeline", "requests", "parked", "dead_letters", "acts",
    }  # fmt: skip
    assert [entry["amount"] for entry in page.entries] == [10_000, 6000]


async def test_an_order_that_only_waits_is_known_and_another_is_not(ledger: LedgerWorld):
    await ledger.apply("invoice.issued", invoice("o1", "1", 6000))

    page = await read_order(ledger.connection, "o1")

    assert page is not None
    assert (page.state, [one["waits_for"] for one in page.parked]) == (None, ["order"])
    assert await read_order(ledger.connection, "o2") is None
