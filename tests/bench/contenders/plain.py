"""The plain version: naive code that is correct as long as nothing crashes. Each message is one transaction, and then
some messages to Kafka, without waiting for the acknowledgement. It knows no changes, returns, outcomes or second
payments, and keeps no history."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import asyncpg
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from worker.kafka import names
from worker.settings import load

TABLES = """
CREATE SCHEMA IF NOT EXISTS plain;
CREATE TABLE IF NOT EXISTS plain.orders (
    order_id text PRIMARY KEY, value bigint, payment_id text, invoiced bigint DEFAULT 0, settling bigint DEFAULT 0);
CREATE TABLE IF NOT EXISTS plain.invoices (
    order_id text REFERENCES plain.orders, number text, value bigint, PRIMARY KEY (order_id, number));
CREATE TABLE IF NOT EXISTS plain.commands (id uuid PRIMARY KEY, order_id text, value bigint, data text);
CREATE TABLE IF NOT EXISTS plain.entries (
    id bigserial PRIMARY KEY, order_id text, debit text, credit text, amount bigint, at timestamptz DEFAULT now())"""


async def main() -> None:
    settings = load()
    kafka = {"bootstrap_servers": settings.bootstrap}
    topics = [settings.topic(names.ORDER_CHANGES), settings.topic(names.INVOICES)]
    consumer = AIOKafkaConsumer(*topics, group_id=settings.topic("plain"), auto_offset_reset="earliest", **kafka)
    producer = AIOKafkaProducer(acks="all", **kafka)
    connection = await asyncpg.connect(settings.database)
    await connection.execute(TABLES)
    await consumer.start()
    await producer.start()
    async for message in consumer:
        data = json.loads(message.value)
        if message.topic == topics[0]:
            state = await open_order(connection, data)
            await producer.send(settings.topic(names.ORDERS), json.dumps(state).encode(), key=message.key)
            continue
        for topic, message_data in await settle(connection, data):
            await producer.send(settings.topic(topic), json.dumps(message_data).encode(), key=message.key)


async def open_order(connection: Any, data: dict[str, Any]) -> dict[str, Any]:
    async with connection.transaction():
        return dict(await connection.fetchrow(
            "INSERT INTO plain.orders (order_id, value, payment_id) VALUES ($1, $2, $3) RETURNING *",
            data["orderId"], data["value"], data["payments"][0]["paymentId"],
        ))  # fmt: skip


async def settle(connection: Any, data: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Books one invoice; returns the messages to send afterwards."""
    order_id, number, value = data["orderId"], data["invoiceNumber"], data["invoiceValue"]
    async with connection.transaction():
        order = await connection.fetchrow("SELECT * FROM plain.orders WHERE order_id = $1 FOR UPDATE", order_id)
        booked_value = await connection.fetchval(
            "SELECT value FROM plain.invoices WHERE order_id = $1 AND number = $2", order_id, number
        )
        if order is None or booked_value is not None or order["invoiced"] + value > order["value"]:
            return []
        command = {"commandId": str(uuid4()), "orderId": order_id, "paymentId": order["payment_id"], "value": value,
                   "issuedAt": datetime.now(UTC).isoformat()}  # fmt: skip
        await connection.execute("INSERT INTO plain.invoices VALUES ($1, $2, $3)", order_id, number, value)
        await connection.execute(
            "INSERT INTO plain.entries (order_id, debit, credit, amount) VALUES ($1, 'authorized', 'settling', $2)",
            order_id, value,
        )  # fmt: skip
        await connection.execute(
            "INSERT INTO plain.commands VALUES ($1, $2, $3, $4)",
            command["commandId"], order_id, value, json.dumps(command),
        )  # fmt: skip
        state = await connection.fetchrow(
            "UPDATE plain.orders SET invoiced = invoiced + $2, settling = settling + $2 "
            "WHERE order_id = $1 RETURNING *",
            order_id, value,
        )  # fmt: skip
    accepted = {"orderId": order_id, "type": "invoice.accepted", "numbers": {"value": value}}
    return [(names.COMMANDS, command), (names.EVENTS, accepted), (names.ORDERS, dict(state))]


if __name__ == "__main__":
    uvloop.run(main())
