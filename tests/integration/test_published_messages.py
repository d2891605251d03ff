"""Everything that a whole deployment publishes matches the published schemas."""

import asyncio
import secrets
from collections import Counter
from pathlib import Path

from tests.contract.emitted import complaints
from tests.sandboxes import until_done
from worker.kafka import names
from worker.kafka.records import Outgoing, Record
from worker.kafka.sink import Sink
from worker.kafka.source import Source
from worker.sandbox.deployment import CONNECTORS, Sandbox
from worker.sandbox.erp import erp_orders
from worker.sandbox.erp_command import publish
from worker.settings import Settings
from worker.stack import StackEnv

ORDERS = 40
BAD = b'{"orderId": "bad", "invoiceNumber": "1"}'
WRITTEN = (*names.TOPICS[2:], *names.DEAD_LETTER_TOPICS)


async def read_all(settings: Settings) -> list[Record]:
    """All records of our output topics."""
    arrived = asyncio.Event()
    source = Source(settings, "reader", WRITTEN, arrived.set)
    await source.start()
    bounds = await source.inspector.bounds(
        [(topic, partition) for topic in WRITTEN for partition in range(settings.topic_partitions)]
    )
    await source.assign({place: first for place, (first, _) in bounds.items()})
    total, records = sum(end - first for first, end in bounds.values()), []
    while len(records) < total:
        await arrived.wait()
        arrived.clear()
        records += source.take(10_000, 64 << 20)
    await source.stop()
    return records


async def test_every_message_of_a_whole_deployment_matches_its_schema(stack: StackEnv, tmp_path: Path):
    orders = list(erp_orders(ORDERS, sorted(CONNECTORS), 3, "emitted"))
    async with Sandbox(f"emitted_{secrets.token_hex(3)}", tmp_path, stack.as_settings()) as sandbox:
        async with Sink(sandbox.settings) as sink:
            await sink.publish(Outgoing(topic, 0, b"k", BAD, [("x", b"\xff")]) for topic in names.INPUTS)
        await publish(sandbox.settings, orders)
        await until_done(sandbox, orders)
        assert (await sandbox.verdict(orders)).good

        written = [
            record
            for record in await read_all(sandbox.settings)
            if record.topic.endswith("-dlt") or record.value != BAD
        ]

    assert complaints(written) == []
    seen = Counter(record.topic for record in written)
    assert set(seen) == {*WRITTEN}, "every topic was written"
    assert seen[names.EVENTS] > 10 * ORDERS
