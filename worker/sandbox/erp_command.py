"""`settlement sandbox erp`: publishes the orders of a generated ERP, as fast as asked."""

import asyncio
import time
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Annotated

import orjson
import typer

from worker.console.running import run
from worker.embedded import with_embedded_stack
from worker.kafka.envelope import write
from worker.kafka.murmur2 import partition_of
from worker.kafka.records import Outgoing
from worker.kafka.sink import Sink
from worker.sandbox.erp import DATE, ErpOrder, Message, erp_orders
from worker.settings import Settings, load

SOURCE = b"/sandbox/erp"
CHUNK = 50  # stories between two looks at the clock


def erp_command(
    orders: Annotated[int, typer.Option(min=1, help="How many orders.")] = 100,
    connectors: Annotated[str, typer.Option(help="Names of connectors, with commas.")] = "acme",
    per_second: Annotated[float, typer.Option(min=0, help="Orders per second; 0: as fast as it goes.")] = 0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same orders.")] = 1,
    name: Annotated[str, typer.Option(help="How the order ids begin.")] = "order",
) -> None:
    """Publishes orders that ship in parts: authorizations, invoices, discounts, returns."""
    settings = with_embedded_stack(load())
    run(publish(settings, erp_orders(orders, connectors.split(","), seed, name), per_second))


async def publish(
    settings: Settings, told: Iterable[ErpOrder], per_second: float = 0, sent: Callable[[int], None] = lambda _: None
) -> None:
    """Publishes every story's messages in their order; returns when Kafka has all of them."""
    left, size = iter(told), 1 if 0 < per_second < CHUNK else CHUNK
    async with Sink(settings) as sink:
        began, done = time.monotonic(), 0
        while chunk := list(islice(left, size)):
            sent(await _send(sink, settings, chunk))
            done += len(chunk)
            if per_second:
                await asyncio.sleep(max(0.0, began + done / per_second - time.monotonic()))


async def _send(sink: Sink, settings: Settings, chunk: list[ErpOrder]) -> int:
    records = [_record(message, settings) for story in chunk for message in story.messages]
    await sink.publish(records)
    return len(records)


def _record(message: Message, settings: Settings) -> Outgoing:
    key = message.order_id
    number = message.data.get("invoiceNumber") or message.data.get("requestId") or message.type
    headers = write(message.type, f"{key}/{number}", DATE, source=SOURCE)
    return Outgoing(
        message.topic, partition_of(key, settings.topic_partitions), key.encode(), orjson.dumps(message.data), headers
    )
