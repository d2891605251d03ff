"""Commands and amounts that wait for an operator, as both workers know them."""

import json
from typing import Any

from tests.integration.ledger.harness import NOON_MS, LedgerHarness, authorized, invoice, outcome, payment
from worker.kafka import names
from worker.people.acting import Actor
from worker.people.needs import Need, find_needs
from worker.postgres.connecting import Connection
from worker.stream.stored_records import encode_headers

ANA = Actor("ana", "limit was raised")


async def needs(connection: Connection, **wanted: Any) -> list[Need]:
    """What needs a person, latest first."""
    return (await find_needs(connection, **wanted)).latest


async def take_over(ledger: LedgerHarness, state: str, done: int = 0, operation_id: str | None = None) -> str:
    """Stores the last command in this state, as the delivery worker does; its command id."""
    command = ledger.published(names.COMMANDS)[-1]
    await ledger.connection.execute(
        "INSERT INTO delivery.commands (command_id, partition, order_id, payment_id, sequence, operation, connector,"
        ' value, topic, source_partition, "offset", body, headers, timestamp, due_at, taken_at, state, done,'
        " operation_id) VALUES ($1, $2, $3, $4, $5, 'settle', 'c1', $6, 'settlement.commands.v1', 0, 1, $7, $8, now(),"
        " now(), now(), $9, $10, $11)",
        command["commandId"], ledger.home(command["orderId"]), command["orderId"], command["paymentId"],
        command["sequence"], command["value"], json.dumps(command).encode(), encode_headers([]), state, done,
        operation_id,
    )  # fmt: skip
    return str(command["commandId"])


async def declined_settle(ledger: LedgerHarness) -> str:
    """Declines a settle of 60.00 USD for invoice 17; its command id."""
    command_id = await _settle(ledger, "declined")
    await ledger.apply("command.declined", outcome(ledger.published(names.COMMANDS)[-1], value=0, code="51"))
    return command_id


async def dead_letter_of_declined_command(ledger: LedgerHarness) -> str:
    """Writes a declined command and its dead letter, as the delivery worker does; the command id."""
    command_id = await declined_settle(ledger)
    await ledger.connection.execute(
        """
        INSERT INTO delivery.dead_letters (topic, partition, "offset", order_id, merchant, reason, message, key, value,
            headers, timestamp, dead_at)
        SELECT topic, source_partition, "offset", order_id, 'shop', 'declined', 'no', key, body, headers, timestamp,
            now()
        FROM delivery.commands"""
    )
    return command_id


async def manual_settle(ledger: LedgerHarness, order_id: str = "o1", merchant: str = "shop") -> str:
    """Leaves a settle of 60.00 of 100.00 USD to manual work; its command id."""
    command_id = await _settle(ledger, "manual", order_id, merchant)
    await ledger.apply("command.manual", outcome(ledger.published(names.COMMANDS)[-1], value=0, code="501"))
    return command_id


async def suspect_settle(ledger: LedgerHarness) -> str:
    """Makes a settle of 60.00 USD suspect, before the ledger has read its outcome; its command id."""
    return await _settle(ledger, "suspect")


async def lapsed_amount(ledger: LedgerHarness) -> None:
    """Invoices 60.00 USD as number 17 after the authorization has lapsed."""
    order = authorized("o1") | {"payments": [payment("o1.p1", expiresAt="2026-01-15T13:00:00Z")]}
    await ledger.apply("order.authorized", order)
    ledger.now_ms = NOON_MS + 3_600_001
    await ledger.cycle()
    await ledger.apply("invoice.issued", invoice("o1", "17", 6000))


async def waiting_amount(ledger: LedgerHarness) -> None:
    """Invoices 120.00 USD, of which 100.00 are authorized."""
    await ledger.apply("order.authorized", authorized("o1", 12_000, [{"value": 10_000}]))
    await ledger.apply("invoice.issued", invoice("o1", "17", 12_000))
    await ledger.succeed()


async def _settle(ledger: LedgerHarness, state: str, order_id: str = "o1", merchant: str = "shop") -> str:
    await ledger.apply("order.authorized", authorized(order_id) | {"merchant": merchant})
    await ledger.apply("invoice.issued", invoice(order_id, "17", 6000))
    return await take_over(ledger, state)
