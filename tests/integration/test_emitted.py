"""Everything that a whole deployment writes to its topics is what the published schemas say."""

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


async def everything(settings: Settings) -> list[Record]:
    """All that our topics hold."""
    arrived = asyncio.Event()
    source = Source(settings, "reader", WRITTEN, arrived.set)
    await source.start()
    bounds = await source.inspector.bounds(
        [(topic, partition) for topic in WRITTEN for partition in range(settings.topic_partitions)]
    )
    await source.assign({place: first for place, (first, _) in bounds.items()})
    wanted, found = sum(end - first for first, end in bounds.values()), []
    while len(found) < wanted:
        await arrived.wait()
        arrived.clear()
        found += source.take(10_000, 64 << 20)
    await source.stop()
    return found


async def test_what_a_whole_deployment_writes_is_valid(stack: StackEnv, tmp_path: Path):
    told = list(erp_orders(ORDERS, sorted(CONNECTORS), 3, "emitted"))
    async with Sandbox(f"emitted_{secrets.token_hex(3)}", tmp_path, stack.as_settings()) as sandbox:
        async with Sink(sandbox.settings) as sink:
            await sink.publish(Outgoing(topic, 0, b"k", BAD, [("x", b"\xff")]) for topic in names.INPUTS)
        await publish(sandbox.settings, told)
        await until_done(sandbox, told)
        assert (await sandbox.verdict(told)).good

        written = [one for one in await everything(sandbox.settings) if one.topic.endswith("-dlt") or one.value != BAD]

    assert complaints(written) == []
    seen = Counter(record.topic for record in written)
    assert set(seen) == {*WRITTEN}, "nothing was left out"
    assert seen[names.EVENTS] > 10 * ORDERS
