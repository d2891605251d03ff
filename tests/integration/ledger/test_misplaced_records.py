"""Misplaced records: an order's records may arrive in any partition, at any worker, and are applied correctly."""

import asyncio
import re

import asyncpg
import pytest

from tests.integration.ledger.harness import NOON_MS, PARTITIONS, LedgerHarness, authorized, invoice, payment
from tests.measured import sample
from worker.domain.terms import HOUR_MS
from worker.kafka import names
from worker.ledger import tally
from worker.ledger.checking import run_audit
from worker.stream.faults import Remedy, remedy


def misplaced_count(topic: str) -> float:
    return sample("settlement_misplaced_total", topic=topic)


def warned(capsys: pytest.CaptureFixture[str]) -> list[int]:
    """The number of invoices in each warning."""
    warnings = [line for line in capsys.readouterr().out.splitlines() if "outside their order's partition" in line]
    return [int(number) for line in warnings for number in re.findall(rf"{names.INVOICES}\W+(\d+)", line)]


async def test_misplaced_records_are_applied_counted_and_published_to_the_home_partition(
    ledger: LedgerHarness, capsys: pytest.CaptureFixture[str]
):
    elsewhere, before = (ledger.home("o1") + 1) % PARTITIONS, misplaced_count(names.INVOICES)
    await ledger.apply("order.authorized", authorized("o1"))
    await ledger.apply("invoice.issued", invoice("o1", "1", 6000), partition=elsewhere)
    await ledger.apply("invoice.issued", invoice("o1", "2", 1000), partition=elsewhere)

    assert {record.partition for record in ledger.outgoing} == {ledger.home("o1")}
    assert misplaced_count(names.INVOICES) == before + 2
    assert warned(capsys) == [1], "one warning per minute"
    assert ledger.commands() == [("settle", 6000), ("settle", 1000)]


async def test_the_next_warning_counts_all_misplaced_records_since_the_last_one(
    ledger: LedgerHarness, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    elsewhere = (ledger.home("o1") + 1) % PARTITIONS
    await ledger.apply("order.authorized", authorized("o1"))
    for number in ("1", "2"):
        await ledger.apply("invoice.issued", invoice("o1", number, 1000), partition=elsewhere)
    monkeypatch.setattr(tally, "MISPLACED_WARNING_SECONDS", 0.0)

    await ledger.apply("invoice.issued", invoice("o1", "3", 1000), partition=elsewhere)

    assert warned(capsys) == [1, 2]


async def test_an_entry_is_chained_in_the_partition_that_its_record_was_read_from(ledger: LedgerHarness):
    elsewhere = (ledger.home("o1") + 1) % PARTITIONS
    await ledger.apply("order.authorized", authorized("o1"))
    await ledger.apply("invoice.issued", invoice("o1", "1", 6000), partition=elsewhere)

    assert await ledger.rows("SELECT chain, place, amount FROM entries ORDER BY fact") == [
        (ledger.home("o1"), 1, 10_000), (elsewhere, 1, 6000),
    ]  # fmt: skip
    assert (await run_audit(ledger.settings))["ok"]


async def test_a_lapse_is_booked_in_a_chain_of_the_worker_that_noticed_it(ledger: LedgerHarness):
    """The order's home partition belongs to another worker, which may be writing into its chain."""
    home, elsewhere = ledger.home("o1"), (ledger.home("o1") + 1) % PARTITIONS
    lapses = payment("o1", expiresAt="2026-01-15T13:00:00Z")
    await ledger.apply("order.authorized", authorized("o1", payments=[lapses]))
    ledger.epochs, ledger.now_ms = {elsewhere: 1}, NOON_MS + 2 * HOUR_MS
    await ledger.apply("invoice.issued", invoice("o1", "1", 6000), partition=elsewhere)

    assert await ledger.rows("SELECT chain, credit, amount FROM entries ORDER BY fact") == [
        (home, "authorized", 10_000), (elsewhere, "lapsed", 10_000),
    ]  # fmt: skip
    assert (await run_audit(ledger.settings))["ok"]


async def test_two_workers_decide_on_one_order_one_after_the_other(ledger: LedgerHarness):
    """Both invoice more than half; the worker that locks the order first gets its whole amount."""
    other = await ledger.second_worker()
    home = ledger.home("o1")
    ledger.epochs, other.epochs = {home: 1}, {(home + 1) % PARTITIONS: 1}
    await ledger.apply("order.authorized", authorized("o1"))
    ledger.send("invoice.issued", invoice("o1", "1", 7000))
    other.send("invoice.issued", invoice("o1", "2", 7000), partition=(home + 1) % PARTITIONS)

    await asyncio.gather(ledger.cycle(), other.cycle())

    commands = [value for _, value in ledger.commands() + other.commands()]
    assert sorted(commands) == [3000, 7000]
    assert await ledger.rows("SELECT settling FROM payments") == [(10_000,)]
    assert (await run_audit(ledger.settings))["ok"]
    await other.connection.close()


async def test_two_workers_create_the_same_new_orders_without_a_deadlock(ledger: LedgerHarness):
    other = await ledger.second_worker()
    ledger.epochs, other.epochs = {0: 1, 1: 1}, {2: 1, 3: 1}
    for place in range(40):
        ledger.send("invoice.issued", invoice(f"o{place}", "1", 1), partition=0)
        other.send("invoice.issued", invoice(f"o{39 - place}", "2", 1), partition=2)

    await asyncio.gather(ledger.cycle(), other.cycle())

    assert await ledger.rows("SELECT count(*), min(parked), max(parked) FROM orders") == [(40, 2, 2)]
    await other.connection.close()


async def test_a_payment_in_two_concurrent_orders_is_refused_once(ledger: LedgerHarness):
    """The database refuses the second transaction, and its retry sees the first one's payment."""
    other = await ledger.second_worker()
    mine, thief = authorized("o1"), authorized("o2", payments=[{"value": 10_000, "paymentId": "o1.p1"}])
    ledger.send("order.authorized", mine)
    other.send("order.authorized", thief)

    results = await asyncio.gather(ledger.cycle(), other.cycle(), return_exceptions=True)

    refused = [result for result in results if isinstance(result, asyncpg.PostgresError)]
    assert len(refused) <= 1
    if refused:
        assert remedy(refused[0]) is Remedy.SPLIT, "the stream retries the cycle record by record"
        loser = ledger if isinstance(results[0], Exception) else other
        await loser.cycle()
    assert ledger.dead() + other.dead() == [(names.ORDER_CHANGES, "conflicting_duplicate")]
    assert await ledger.value("SELECT count(*) FROM payments") == 1
    await other.connection.close()


async def test_only_the_owner_of_the_home_partition_lets_an_authorization_lapse(ledger: LedgerHarness):
    expires = {"value": 10_000, "expiresAt": "2026-01-15T12:00:10Z"}
    await ledger.apply("order.authorized", authorized("o1", payments=[expires]))
    ledger.now_ms += 10_000
    all_epochs, home = ledger.epochs, ledger.home("o1")

    ledger.epochs = {partition: 1 for partition in all_epochs if partition != home}
    await ledger.cycle()
    assert ledger.state("o1")["payments"][0]["lapsed"] is False

    ledger.epochs, ledger.now_ms = all_epochs, ledger.handler.next_due_ms()
    await ledger.cycle()
    assert ledger.state("o1")["payments"][0]["lapsed"] is True


async def test_a_payment_that_is_misplaced_and_parked_is_added(ledger: LedgerHarness):
    elsewhere = (ledger.home("o1") + 1) % PARTITIONS
    await ledger.apply("payment.authorized", {"orderId": "o1", "payment": payment("o1.p2", 500)}, partition=elsewhere)
    await ledger.apply("order.authorized", authorized("o1"))

    assert [entry["paymentId"] for entry in ledger.state("o1")["payments"]] == ["o1.p1", "o1.p2"]
    assert (await run_audit(ledger.settings))["ok"]
