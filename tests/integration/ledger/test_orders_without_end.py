"""An ERP that goes on and on about one order: it gets its answer, and the others never notice."""

import pytest

from tests.integration.ledger.harness import CONNECTORS, LedgerHarness, authorized, invoice, payment
from worker.kafka import names
from worker.kafka.topics import OUTPUT_RECORD_BYTES_MAX
from worker.ledger.order_fold import ORDER_BYTES_MAX

LONG_NUMBER = "🧾" * 250
INVOICES = 2_500


async def test_an_order_that_grows_without_end_is_full_and_only_what_becomes_of_its_commands_counts(
    ledger: LedgerHarness,
):
    ledger.send("order.authorized", authorized("endless"))
    ledger.send("invoice.issued", invoice("endless", "1", 10_000))
    await ledger.cycle()
    for number in range(INVOICES):
        ledger.send("invoice.issued", invoice("endless", f"{LONG_NUMBER}{number}", 1))
    await ledger.cycle()

    accepted = len(ledger.state("endless")["invoices"]) - 1
    assert 0 < accepted < INVOICES
    assert ledger.dead() == [(names.INVOICES, "too_large")] * (INVOICES - accepted)
    message = await ledger.value("SELECT message FROM dead_letters ORDER BY id DESC LIMIT 1")
    assert message.startswith("Order endless has grown to ")
    assert max(len(one.value or b"") for one in ledger.outgoing) < OUTPUT_RECORD_BYTES_MAX // 2

    await ledger.apply("invoice.issued", invoice("endless", f"{LONG_NUMBER}0", 1))
    await ledger.apply("invoice.issued", invoice("endless", "2", 1))
    assert len(ledger.dead()) == INVOICES - accepted + 1, "a repeat of what was accepted is only counted"

    await ledger.succeed()
    assert ledger.state("endless")["settled"] == 10_000
    await ledger.apply("order.authorized", authorized("another"))
    assert ledger.state("another")["open"] == 10_000


async def test_an_order_of_a_thousand_recipients_is_bounded_by_what_is_kept_of_its_commands_too(ledger: LedgerHarness):
    ledger.file.write_text(CONNECTORS + "partial_split = true\n")
    ledger.handler.reload()
    recipients = [
        {"id": f"r{number}", "name": "n", "documentType": "d", "document": "d", "role": "seller", "amount": 10_000}
        for number in range(1_000)
    ]
    split = {"value": 10_000_000, "recipients": recipients}
    await ledger.apply("order.authorized", authorized("split", 10_000_000, [split]))

    for number in range(INVOICES // 5):
        ledger.send("invoice.issued", invoice("split", str(number), 1_000))
    await ledger.cycle()

    kept = await ledger.value("SELECT length(document) FROM orders WHERE order_id = 'split'")
    assert kept < 1.1 * ORDER_BYTES_MAX
    assert ledger.dead()


async def test_what_waited_for_an_order_is_no_way_around_its_bound(ledger: LedgerHarness):
    for number in range(INVOICES):
        ledger.send("invoice.issued", invoice("endless", f"{LONG_NUMBER}{number}", 1))
    await ledger.cycle()

    await ledger.apply("order.authorized", authorized("endless", 100))
    await nothing_waits(ledger)

    accepted = len(ledger.state("endless")["invoices"])
    assert 100 < accepted < INVOICES
    assert len(ledger.dead()) == INVOICES - accepted


async def test_thousands_of_facts_that_waited_for_their_order_are_applied_over_some_cycles_in_their_order(
    ledger: LedgerHarness, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("worker.ledger.deciding.TRIED_MAX", 10)
    for number in range(25):
        ledger.send("invoice.issued", invoice("o1", str(number), 100))
    await ledger.cycle()

    await ledger.apply("order.authorized", authorized("o1"))
    assert await ledger.value("SELECT count(*) FROM parked") == 15
    ledger.now_ms += 80 * 3_600_000  # later than what waits would be given up, had its order not come
    await ledger.apply("invoice.issued", invoice("o1", "late", 100))
    await ledger.apply("invoice.issued", invoice("o1", "3", 100))
    await nothing_waits(ledger)

    accepted = [one["cause"]["id"] for one in ledger.of(names.EVENTS) if one["type"] == "invoice.accepted"]
    assert accepted == [*map(str, range(25)), "late"]
    assert ledger.dead() == []


async def test_thousands_of_facts_that_wait_for_a_payment_keep_no_later_one_from_being_tried(
    ledger: LedgerHarness, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("worker.ledger.deciding.TRIED_MAX", 10)
    for number in range(25):
        settled = {"orderId": "o1", "paymentId": "later", "settleId": str(number), "value": 1}
        ledger.send("payment.auto_settled", settled)
    ledger.send("invoice.issued", invoice("o1", "1", 100))
    await ledger.cycle()

    await ledger.apply("order.authorized", authorized("o1"))
    for _ in range(3):
        await ledger.cycle()
    assert ledger.commands() == [("settle", 100)]
    assert await ledger.value("SELECT count(*) FROM parked WHERE waits_for = 'payment'") == 25

    await ledger.apply("payment.authorized", {"orderId": "o1", "payment": payment("later", 100)})
    await nothing_waits(ledger)
    later = next(one for one in ledger.state("o1")["payments"] if one["paymentId"] == "later")
    assert later["settled"] == 25


async def test_what_is_told_of_an_order_of_many_recipients_goes_out_over_some_cycles(
    ledger: LedgerHarness, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("worker.ledger.deciding.PUBLISHED_BYTES_MAX", 100_000)
    ledger.file.write_text(CONNECTORS + "partial_split = true\n")
    ledger.handler.reload()
    for number in range(25):
        ledger.send("invoice.issued", invoice("split", str(number), 100))
    await ledger.cycle()

    one = {"id": "r", "name": "n" * 4_000, "documentType": "d", "document": "d", "role": "seller", "amount": 10_000}
    split = {"value": 10_000, "recipients": [one]}
    first = await ledger.apply("order.authorized", authorized("split", 10_000, [split]))
    await nothing_waits(ledger)

    assert 0 < sum(len(one.value or b"") for one in first if one.topic == names.COMMANDS) < 150_000
    assert ledger.commands() == [("settle", 100)] * 25


async def nothing_waits(ledger: LedgerHarness) -> None:
    """After as many cycles as it takes, one after another: each leaves less."""
    while left := await ledger.value("SELECT count(*) FROM parked"):
        await ledger.cycle()
        assert await ledger.value("SELECT count(*) FROM parked") < left
