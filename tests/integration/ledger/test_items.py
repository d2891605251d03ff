"""The items of invoices and changes are kept as they came, and never looked at (R10, R17)."""

from tests.integration.ledger.harness import LedgerHarness, authorized, invoice


async def test_the_items_of_invoices_and_changes_are_kept_as_they_came_also_of_refused_and_parked_ones(
    ledger: LedgerHarness,
):
    change = {"orderId": "o1", "requestId": "c", "reason": "r", "discountValue": 5, "incrementValue": 0}
    await ledger.apply("invoice.issued", invoice("o1", "1", 6000, items=[{"id": "7", "price": -1.5}]))
    await ledger.apply("order.authorized", authorized("o1"))
    await ledger.apply("invoice.issued", invoice("o1", "2", 100, currency="EUR", items=["no line"]))
    await ledger.apply("order.changed", change | {"itemsAdded": [], "itemsRemoved": [{"id": "7"}]})
    await ledger.apply("invoice.issued", invoice("o1", "3", 1000))

    kept = await ledger.rows("SELECT items FROM facts WHERE order_id = 'o1' ORDER BY sequence")
    assert [items for (items,) in kept] == [
        None, '{"items":[{"id": "7", "price": -1.5}]}', '{"items":["no line"]}',
        '{"itemsAdded":[],"itemsRemoved":[{"id": "7"}]}', None,
    ]  # fmt: skip


async def test_the_items_of_many_invoices_are_kept_with_each(ledger: LedgerHarness):
    await ledger.apply("order.authorized", authorized("o1"))
    for number in range(1, 80):
        ledger.send("invoice.issued", invoice("o1", str(number), 10, items=[number]))
    await ledger.cycle()

    kept = await ledger.rows("SELECT items FROM facts WHERE order_id = 'o1' ORDER BY sequence OFFSET 1")
    assert [items for (items,) in kept] == [f'{{"items":[{number}]}}' for number in range(1, 80)]
