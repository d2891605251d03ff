"""Size limits of one order: a full order rejects facts, and large outputs are spread over cycles."""

import pytest

from tests.integration.ledger.harness import CONNECTORS, LedgerHarness, authorized, invoice, payment
from worker.kafka import names
from worker.kafka.topics import OUTPUT_RECORD_BYTES_MAX
from worker.ledger.order_fold import ORDER_BYTES_MAX
from worker.stream.faults import CycleTooLargeError

LONG_NUMBER = "🧾" * 250
INVOICES = 2_500


async def test_a_full_order_accepts_only_the_outcomes_of_its_commands(
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
    assert max(len(record.value or b"") for record in ledger.outgoing) < OUTPUT_RECORD_BYTES_MAX // 2

    await ledger.apply("invoice.issued", invoice("endless", f"{LONG_NUMBER}0", 1))
    await ledger.apply("invoice.issued", invoice("endless", "2", 1))
    assert len(ledger.dead()) == INVOICES - accepted + 1, "a duplicate of an accepted invoice is only counted"

    await ledger.succeed()
    assert ledger.state("endless")["settled"] == 10_000
    await ledger.apply("order.authorized", authorized("another"))
    assert ledger.state("another")["open"] == 10_000


async def test_the_size_limit_of_an_order_includes_its_commands(ledger: LedgerHarness):
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


async def test_parked_facts_cannot_exceed_the_size_limit_of_their_order(ledger: LedgerHarness):
    for number in range(INVOICES):
        ledger.send("invoice.issued", invoice("endless", f"{LONG_NUMBER}{number}", 1))
    await ledger.cycle()

    await ledger.apply("order.authorized", authorized("endless", 100))
    await run_until_unparked(ledger)

    accepted = len(ledger.state("endless")["invoices"])
    assert 100 < accepted < INVOICES
    assert len(ledger.dead()) == INVOICES - accepted


async def test_thousands_of_parked_facts_are_applied_in_order_over_several_cycles(
    ledger: LedgerHarness, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("worker.ledger.deciding.TRIED_MAX", 10)
    for number in range(25):
        ledger.send("invoice.issued", invoice("o1", str(number), 100))
    await ledger.cycle()

    await ledger.apply("order.authorized", authorized("o1"))
    assert await ledger.value("SELECT count(*) FROM parked") == 15
    ledger.now_ms += 80 * 3_600_000  # parked facts would expire by then if their order had not arrived
    await ledger.apply("invoice.issued", invoice("o1", "late", 100))
    await ledger.apply("invoice.issued", invoice("o1", "3", 100))
    await run_until_unparked(ledger)

    accepted = [event["cause"]["id"] for event in ledger.published(names.EVENTS) if event["type"] == "invoice.accepted"]
    assert accepted == [*map(str, range(25)), "late"]
    assert ledger.dead() == []


async def test_thousands_of_facts_parked_for_a_payment_do_not_block_later_facts(
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
    await run_until_unparked(ledger)
    later = next(entry for entry in ledger.state("o1")["payments"] if entry["paymentId"] == "later")
    assert later["settled"] == 25


async def test_a_large_output_of_one_order_is_published_over_several_cycles(
    ledger: LedgerHarness, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("worker.ledger.deciding.PUBLISHED_BYTES_MAX", 100_000)
    ledger.file.write_text(CONNECTORS + "partial_split = true\n")
    ledger.handler.reload()
    for number in range(25):
        ledger.send("invoice.issued", invoice("split", str(number), 100))
    await ledger.cycle()

    seller = {"id": "r", "name": "n" * 4_000, "documentType": "d", "document": "d", "role": "seller", "amount": 10_000}
    split = {"value": 10_000, "recipients": [seller]}
    first = await ledger.apply("order.authorized", authorized("split", 10_000, [split]))
    await run_until_unparked(ledger)

    assert 0 < sum(len(record.value or b"") for record in first if record.topic == names.COMMANDS) < 150_000
    assert ledger.commands() == [("settle", 100)] * 25


async def test_large_orders_that_lapse_at_the_same_moment_lapse_beside_a_batch_of_records(
    ledger: LedgerHarness, monkeypatch: pytest.MonkeyPatch
):
    for number in range(20):
        card = payment(f"o{number}.p1", expiresAt="2026-01-15T13:00:00Z")
        await ledger.apply("order.authorized", authorized(f"o{number}") | {"payments": [card]})
    ledger.now_ms += 2 * 3_600_000
    monkeypatch.setattr("worker.stream.cycle.PUBLISHED_BYTES_MAX", 10_000)
    for number in range(2):
        ledger.send("invoice.issued", invoice("o1", str(number), 100))

    records = ledger.pending
    with pytest.raises(CycleTooLargeError):
        await ledger.cycle()
    for record in records:  # so the stream goes on: in halves
        ledger.pending = [record]
        await ledger.cycle()

    assert all(ledger.state(f"o{number}")["payments"][0]["lapsed"] for number in range(20))


async def test_large_orders_that_are_due_at_the_same_moment_are_decided_over_several_cycles(
    ledger: LedgerHarness, monkeypatch: pytest.MonkeyPatch
):
    for number in range(6):
        card = payment(f"o{number}.p1", expiresAt="2026-01-15T13:00:00Z")
        new = payment(f"o{number}.p1", connector="c2")
        await ledger.apply("order.authorized", authorized(f"o{number}") | {"payments": [card if number < 3 else new]})
    size = await ledger.value("SELECT max(length(document)) FROM orders")
    monkeypatch.setattr("worker.ledger.due_orders.DUE_BYTES_MAX", size + 1)
    ledger.file.write_text(CONNECTORS + CONNECTORS.replace("c1", "c2"))
    ledger.handler.reload()
    ledger.now_ms += 2 * 3_600_000

    decided = []
    for _ in range(2):
        states = [record for record in await ledger.cycle() if record.topic == names.ORDERS]
        decided.append(len(states))

    assert decided == [4, 2], "of the lapsed and of the named orders, two and then one"
    assert [ledger.state(f"o{number}")["payments"][0]["lapsed"] for number in range(6)] == [True] * 3 + [False] * 3
    assert [ledger.state(f"o{number}")["mode"] for number in range(6)] == ["PARTIAL"] * 6


async def run_until_unparked(ledger: LedgerHarness) -> None:
    """Runs cycles until nothing is parked; each must reduce the number."""
    while left := await ledger.value("SELECT count(*) FROM parked"):
        await ledger.cycle()
        assert await ledger.value("SELECT count(*) FROM parked") < left
