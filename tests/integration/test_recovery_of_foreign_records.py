"""A recovery of topics on which other producers wrote unusual records."""

import asyncio
import json

import asyncpg
from aiokafka import AIOKafkaProducer

from tests.batches import Handmade, batch, send
from tests.integration.restoring import authorized, back_up, crash_and_restore, rows
from tests.sandboxes import until_done, until_published
from tests.transactions import transactional
from worker.kafka import names
from worker.kafka.dead_letters import dead_letter
from worker.kafka.records import Record
from worker.recovery import dead_letters
from worker.recovery.summary import Summary
from worker.sandbox.deployment import Sandbox
from worker.sandbox.erp import ErpOrder, invoice
from worker.sandbox.erp_command import publish

ORDERS = 4
DIED_MS = 1_768_478_400_000
ERP_TOPICS = (names.INVOICES, names.ORDER_CHANGES)


def _orders() -> list[ErpOrder]:
    return [
        ErpOrder(order, (authorized(order, 3_000, (("cielo", 3_000),)), invoice(order, "N1", 3_000)), 3_000, 0)
        for order in (f"order-{number}" for number in range(ORDERS))
    ]


async def _publish_to_all(sandbox: Sandbox, producer: AIOKafkaProducer) -> None:
    """Publishes an empty object to every partition of the ERP's topics."""
    for topic in ERP_TOPICS:
        for partition in range(sandbox.settings.topic_partitions):
            await producer.send_and_wait(sandbox.settings.topic(topic), b"{}", partition=partition)


async def test_open_transactions_and_non_utf8_header_names_do_not_stop_a_recovery(sandbox: Sandbox) -> None:
    orders = _orders()
    await back_up(sandbox)
    await publish(sandbox.settings, orders)
    await until_published(sandbox, "settlement.confirmed", ORDERS)
    await until_done(sandbox, orders)
    await crash_and_restore(sandbox)
    repeat = json.dumps(orders[0].messages[1].data).encode()
    for topic in ERP_TOPICS:
        await send(sandbox.settings, topic, 0, batch([Handmade(b"", repeat, [(b"\xffname", b"")])], "gzip"))
    async with transactional(sandbox.settings) as producer:
        await producer.begin_transaction()
        await _publish_to_all(sandbox, producer)
        await producer.abort_transaction()
        await producer.begin_transaction()
        await _publish_to_all(sandbox, producer)  # this one stays open

        summary = json.loads(await asyncio.to_thread(sandbox.processes.must_run, "recover", "--json"))

        assert (summary["facts"], summary["outcomes"]) == (3 * ORDERS, ORDERS)
        await producer.abort_transaction()
    sandbox.start_workers()
    await until_done(sandbox, orders)
    verdict = await sandbox.verdict(orders)
    assert verdict.good, verdict


async def test_a_foreign_record_on_the_commands_topic_becomes_a_dead_letter(sandbox: Sandbox) -> None:
    orders = _orders()
    await back_up(sandbox)
    await publish(sandbox.settings, orders)
    await until_done(sandbox, orders)
    await crash_and_restore(sandbox)
    await send(sandbox.settings, names.COMMANDS, 0, batch([Handmade(b"somebody", b"no command", [])], "gzip"))

    await asyncio.to_thread(sandbox.processes.must_run, "recover")

    assert await rows(sandbox, "SELECT key, value, reason FROM delivery.dead_letters") == [
        (b"somebody", b"no command", "malformed")
    ]
    sandbox.start_workers()
    await until_done(sandbox, orders)
    verdict = await sandbox.verdict(orders)
    assert verdict.good, verdict


async def test_a_dead_letter_whose_key_is_not_utf8_does_not_stop_a_recovery(database_url: str) -> None:
    record = Record(names.COMMANDS, 1, 7, b"order\0-\xff1", b"{}", [], DIED_MS)
    sent, _ = dead_letter(record, "invalid", "no command", "shop.", bytes_max=1_000_000)
    letter = Record(sent.topic, 1, 0, sent.key, sent.value, sent.headers, DIED_MS)
    connection = await asyncpg.connect(database_url)

    try:
        taken_back = await dead_letters.take_back(connection, [letter], "shop.", Summary(), "delivery")
        row = await connection.fetchrow("SELECT order_id, key FROM delivery.dead_letters")
    finally:
        await connection.close()

    assert taken_back == [(names.COMMANDS, 1, 7)]
    assert (row["order_id"], row["key"]) == ("order-\ufffd1", b"order\0-\xff1")
