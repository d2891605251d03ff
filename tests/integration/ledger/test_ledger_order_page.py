"""`settlement order`: the page of one order."""

import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from tests.integration.ledger.harness import LedgerHarness, authorized, invoice
from worker.console.order import show_order
from worker.kafka import names
from worker.people import orders
from worker.people.acting import NotFoundError
from worker.people.orders import read_order
from worker.postgres.connecting import Connection


async def test_the_order_page_shows_balances_invoices_timeline_and_requests(ledger: LedgerHarness):
    await ledger.apply("order.authorized", authorized("o1"))
    await ledger.apply("invoice.issued", invoice("o1", "A[1]", 6000))
    console = Console(record=True, width=250, file=io.StringIO())

    page = await read_order(ledger.connection, "o1")
    show_order(console, page, explain=True)

    text = console.export_text()
    for expected in ("order o1 of shop, PARTIAL: open", "A[1]", "settlement.requested", "capture 60.00", "on its way",
                     "invoice.issued", "erp.invoices.v1["):  # fmt: skip
        assert expected in text
    assert page.as_json(explain=False).keys() == {
        "order", "items", "tracking", "timeline", "requests", "parked", "dead_letters", "acts",
    }  # fmt: skip
    assert [entry["amount"] for entry in page.entries] == [10_000, 6000]


async def test_the_order_page_has_the_items_of_each_invoice_and_change_for_programs(ledger: LedgerHarness):
    await ledger.apply("order.authorized", authorized("o1"))
    await ledger.apply("invoice.issued", invoice("o1", "A[1]", 6000, items=[{"id": "7"}]))
    await ledger.apply("invoice.issued", invoice("o1", "2", 1))

    page = await read_order(ledger.connection, "o1")

    assert page is not None
    assert page.as_json(explain=False)["items"] == [
        {"kind": "invoice.issued", "about": "A[1]", "items": '{"items":[{"id": "7"}]}'}
    ]


async def test_the_order_page_has_the_tracking_of_each_invoice_for_programs_as_it_came_and_was_updated(
    ledger: LedgerHarness,
):
    await ledger.apply("order.authorized", authorized("o1"))
    sent = {"courier": "Correios", "trackingNumber": "BR-1", "trackingUrl": 7, "dispatchedDate": "2026-01-15T12:00:00Z"}
    await ledger.apply("invoice.issued", invoice("o1", "1", 6000, **sent))
    await ledger.apply("invoice.issued", invoice("o1", "2", 1000))
    for _ in range(2):
        delivered = {"courier": "Correios", "isDelivered": True}
        await ledger.apply("invoice.tracking_updated", {"orderId": "o1", "invoiceNumber": "1"} | delivered)

    page = await read_order(ledger.connection, "o1")

    assert page.as_json(explain=False)["tracking"] == {
        "1": {"courier": "Correios", "trackingNumber": "BR-1", "dispatchedDate": "2026-01-15T12:00:00Z",
              "isDelivered": True},
    }  # fmt: skip
    assert [event["type"] for event in ledger.published(names.EVENTS)].count("tracking.updated") == 1
    assert await ledger.is_sound()


async def test_the_order_page_shows_what_needs_an_operator_and_for_which_invoice(ledger: LedgerHarness):
    await ledger.apply("order.authorized", authorized("o1"))
    await ledger.apply("invoice.issued", invoice("o1", "1", 6000))
    await ledger.succeed(value=60)
    console = Console(record=True, width=250, file=io.StringIO())

    page = await read_order(ledger.connection, "o1")
    show_order(console, page, explain=False)

    assert ("needs a person: short 59.40 for invoice 1\n"
            "`settlement commands list --order o1` shows what may be decided\n") in console.export_text()  # fmt: skip


async def test_an_unsent_command_is_shown_with_the_error_of_its_last_attempt(ledger: LedgerHarness):
    await ledger.apply("order.authorized", authorized("o1"))
    await ledger.apply("invoice.issued", invoice("o1", "1", 6000))
    page = await read_order(ledger.connection, "o1")
    at = datetime(2026, 1, 15, 12, tzinfo=UTC)
    attempt = {"begun_at": at, "ended_at": at, "status": None, "fate": "not_sent", "reply": None}
    page.requests[0] |= {"state": "waiting", "sent": [attempt | {"code": code} for code in ("timed out", "refused")]}
    console = Console(record=True, width=250, file=io.StringIO())

    show_order(console, page, explain=False)

    assert "waiting: refused" in console.export_text()


async def test_an_order_with_only_parked_facts_is_found_and_an_unknown_order_is_not(ledger: LedgerHarness):
    await ledger.apply("invoice.issued", invoice("o1", "1", 6000))

    page = await read_order(ledger.connection, "o1")

    assert (page.state, [fact["waits_for"] for fact in page.parked]) == (None, ["order"])
    for unknown in ("o2", "o\0"):
        with pytest.raises(NotFoundError, match="no order o"):
            await read_order(ledger.connection, unknown)


class Attempt(dict[str, Any]):
    """A row that counts how often its command id is read."""

    reads = 0

    def __getitem__(self, name: str) -> Any:
        Attempt.reads += name == "command_id"
        return super().__getitem__(name)


async def test_each_attempt_is_shown_with_its_request_and_processed_once(
    ledger: LedgerHarness, monkeypatch: pytest.MonkeyPatch
):
    await ledger.apply("order.authorized", authorized("o1"))
    for number in range(3):
        await ledger.apply("invoice.issued", invoice("o1", str(number), 100))
    for command in ledger.published(names.COMMANDS):
        await ledger.connection.execute(
            "INSERT INTO delivery.commands (command_id, partition, order_id, payment_id, sequence, operation,"
            ' connector, value, topic, source_partition, "offset", body, headers, "timestamp", due_at, taken_at)'
            " VALUES ($1, 0, 'o1', $2, $3, 'settle', 'c1', 100, 't', 0, 1, $4, '[]', now(), now(), now())",
            command["commandId"], command["paymentId"], command["sequence"], json.dumps(command).encode(),
        )  # fmt: skip
        await ledger.connection.execute(
            "INSERT INTO delivery.attempts (command_id, attempt, epoch, begun_at)"
            " SELECT $1, number, 1, now() FROM generate_series(1, 2) AS number", command["commandId"],
        )  # fmt: skip
    rows = orders._rows

    async def counted(connection: Connection, query: str, order_id: str) -> list[dict[str, Any]]:
        result = await rows(connection, query, order_id)
        return [Attempt(row) for row in result] if query == "order_attempts" else result

    monkeypatch.setattr(orders, "_rows", counted)
    monkeypatch.setattr(Attempt, "reads", 0)
    page = await read_order(ledger.connection, "o1")

    assert Attempt.reads == 6
    assert [[(attempt["command_id"] == request["command_id"], attempt["attempt"]) for attempt in request["sent"]]
            for request in page.requests] == [[(True, 1), (True, 2)]] * 3  # fmt: skip
