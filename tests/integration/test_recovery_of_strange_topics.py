"""A recovery reads to the ends of topics on which others wrote what no producer of ours writes."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from tests.batches import Handmade, batch, send
from tests.integration.restoring import authorized, back_up, crash_and_restore, invoice, rows
from tests.sandboxes import until_done, until_published
from tests.transactions import transactional
from worker.kafka import names
from worker.sandbox.deployment import Sandbox
from worker.sandbox.erp import ErpOrder
from worker.sandbox.erp_command import publish
from worker.stack import StackEnv

ORDERS = 4
ERP_TOPICS = (names.INVOICES, names.ORDER_CHANGES)


@pytest.fixture
async def sandbox(stack: StackEnv, tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with Sandbox(f"strange_{secrets.token_hex(3)}", tmp_path, stack.as_settings()) as sandbox:
        yield sandbox


def _told() -> list[ErpOrder]:
    return [
        ErpOrder(order, (authorized(order, 3_000, (("cielo", 3_000),)), invoice(order, "N1", 3_000)), 3_000, 0)
        for order in (f"order-{number}" for number in range(ORDERS))
    ]


async def _publish_to_all(sandbox: Sandbox, producer: AIOKafkaProducer) -> None:
    """A record that says nothing, to every partition of what the ERP writes."""
    for topic in ERP_TOPICS:
        for partition in range(sandbox.settings.topic_partitions):
            await producer.send_and_wait(sandbox.settings.topic(topic), b"{}", partition=partition)


async def test_transactions_and_strange_names_neither_hold_it_up_nor_stop_it(sandbox: Sandbox) -> None:
    told = _told()
    await back_up(sandbox)
    await publish(sandbox.settings, told)
    await until_published(sandbox, "settlement.confirmed", ORDERS)
    await until_done(sandbox, told)
    await crash_and_restore(sandbox)
    again = json.dumps(told[0].messages[1].data).encode()
    for topic in ERP_TOPICS:
        await send(sandbox.settings, topic, 0, batch([Handmade(b"", again, [(b"\xffname", b"")])], "gzip"))
    async with transactional(sandbox.settings) as producer:
        await producer.begin_transaction()
        await _publish_to_all(sandbox, producer)
        await producer.abort_transaction()
        await producer.begin_transaction()
        await _publish_to_all(sandbox, producer)  # and it stays open

        summary = json.loads(await asyncio.to_thread(sandbox.processes.must_run, "recover", "--json"))

        assert (summary["facts"], summary["outcomes"]) == (3 * ORDERS, ORDERS)
        await producer.abort_transaction()
    sandbox.start_workers()
    await until_done(sandbox, told)
    verdict = await sandbox.verdict(told)
    assert verdict.good, verdict


async def test_what_is_no_command_on_their_topic_becomes_a_dead_letter(sandbox: Sandbox) -> None:
    told = _told()
    await back_up(sandbox)
    await publish(sandbox.settings, told)
    await until_done(sandbox, told)
    await crash_and_restore(sandbox)
    await send(sandbox.settings, names.COMMANDS, 0, batch([Handmade(b"somebody", b"no command", [])], "gzip"))

    await asyncio.to_thread(sandbox.processes.must_run, "recover")

    assert await rows(sandbox, "SELECT key, value, reason FROM delivery.dead_letters") == [
        (b"somebody", b"no command", "malformed")
    ]
    sandbox.start_workers()
    await until_done(sandbox, told)
    verdict = await sandbox.verdict(told)
    assert verdict.good, verdict
