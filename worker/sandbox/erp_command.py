"""`settlement sandbox erp`: publishes the messages of generated orders, at a given rate."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Annotated, Protocol

import orjson
import typer

from worker.console.running import run
from worker.console.screen import out, pluralize, show
from worker.embedded import with_embedded_stack
from worker.kafka.envelope import binary_headers
from worker.kafka.murmur2 import partition_of
from worker.kafka.records import Outgoing
from worker.kafka.sink import Sink
from worker.sandbox.erp import DATE, Message, erp_orders
from worker.settings import Settings, load

SOURCE = b"/sandbox/erp"
CHUNK_ORDERS = 50  # published at once; below this rate one order at a time


def erp_command(
    orders: Annotated[int, typer.Option(min=1, help="The number of orders.")] = 100,
    connectors: Annotated[str, typer.Option(help="Names of connectors, separated by commas.")] = "acme",
    per_second: Annotated[float, typer.Option(min=0, help="Orders per second; 0 is as fast as possible.")] = 0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same orders.")] = 1,
    name: Annotated[str, typer.Option(help="The beginning of the order ids.")] = "order",
) -> None:
    """Publish orders that ship in parts: authorizations, invoices, discounts, returns."""
    names = connectors.split(",")
    if not all(names):
        raise typer.BadParameter("--connectors takes names separated by commas, none of them empty")
    settings = with_embedded_stack(load())
    published = run(publish(settings, erp_orders(orders, names, seed, name), per_second))
    show(out(), f"published {pluralize(orders, 'order')} in {pluralize(published, 'message')}")


class Told(Protocol):
    """An order, as far as it is published."""

    @property
    def messages(self) -> Sequence[Message]: ...


async def publish(
    settings: Settings,
    orders: Iterable[Told],
    per_second: float = 0,
    on_sent: Callable[[int], None] = lambda _: None,
) -> int:
    """Publishes the messages of all orders in sequence; returns their number when Kafka has acknowledged all of them.

    `on_sent` is called with the number of messages of each chunk.
    """
    remaining, chunk_size = iter(orders), 1 if 0 < per_second < CHUNK_ORDERS else CHUNK_ORDERS
    async with Sink(settings) as sink:
        started, orders_sent, messages_sent = time.monotonic(), 0, 0
        while chunk := list(islice(remaining, chunk_size)):
            sent = await _send(sink, settings, chunk)
            on_sent(sent)
            orders_sent += len(chunk)
            messages_sent += sent
            if per_second:
                await asyncio.sleep(max(0.0, started + orders_sent / per_second - time.monotonic()))
    return messages_sent


async def _send(sink: Sink, settings: Settings, chunk: Sequence[Told]) -> int:
    records = [_record(message, settings) for order in chunk for message in order.messages]
    await sink.publish(records)
    return len(records)


def _record(message: Message, settings: Settings) -> Outgoing:
    key = message.order_id
    number = message.data.get("invoiceNumber") or message.data.get("requestId") or message.type
    headers = binary_headers(message.type, f"{key}/{number}", DATE, source=SOURCE)
    return Outgoing(
        message.topic, partition_of(key, settings.topic_partitions), key.encode(), orjson.dumps(message.data), headers
    )
