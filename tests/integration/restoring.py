"""Backs up, loses and restores the database of a sandbox, and queries it."""

import asyncio
from collections.abc import Iterable
from typing import Any

import asyncpg
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from tests.sandboxes import SECONDS_MAX
from tests.until import until
from worker.kafka import names
from worker.kafka.connecting import client_options
from worker.kafka.source import Source
from worker.sandbox.deployment import Sandbox
from worker.sandbox.erp import Message

REFUSED = 1
WORKERS = ("ledger", "delivery")


def authorized(order: str, value: int, payments: Iterable[tuple[str, int]]) -> Message:
    """An authorized order; each payment is its connector's name and its amount."""
    data = {
        "orderId": order, "merchant": "shop", "currency": "BRL", "value": value,
        "payments": [
            {"paymentId": f"{order}-{name}", "transactionId": "T", "authorizationId": "A", "connector": name,
             "value": amount, "tid": "tid"}
            for name, amount in payments
        ],
    }  # fmt: skip
    return Message(names.ORDER_CHANGES, "order.authorized", data)


async def administer(sandbox: Sandbox, *statements: str) -> None:
    connection = await asyncpg.connect(sandbox._server)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


async def rows(sandbox: Sandbox, query: str) -> list[tuple[Any, ...]]:
    connection = await asyncpg.connect(sandbox.settings.database)
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def query_value(sandbox: Sandbox, query: str) -> Any:
    result = await rows(sandbox, query)
    return result[0][0] if result else None


async def until_value(sandbox: Sandbox, wanted: object, query: str) -> None:
    """Waits until the query has this result; fails if a program of the sandbox ends."""

    async def has_result() -> bool:
        sandbox.poll()
        return bool(await query_value(sandbox, query) == wanted)

    await until(has_result, SECONDS_MAX, query)


async def until_read(sandbox: Sandbox, *topics: str) -> None:
    """Waits until the ledger has read these topics, which nothing writes to any more, to their ends."""
    source = Source(sandbox.settings, "look", topics, lambda: None)
    await source.start()
    partitions = range(sandbox.settings.topic_partitions)
    bounds = await source.inspector.bounds([(topic, partition) for topic in topics for partition in partitions])
    await source.stop()
    listed = ", ".join(f"'{topic}'" for topic in topics)
    query = f"SELECT coalesce(sum(next_offset), 0)::bigint FROM ledger.positions WHERE topic IN ({listed})"
    await until_value(sandbox, sum(end for _, end in bounds.values()), query)


async def back_up(sandbox: Sandbox) -> None:
    await asyncio.to_thread(sandbox.processes.stop, *WORKERS)
    await administer(sandbox, f'CREATE DATABASE "{sandbox.name}_backup" TEMPLATE "{sandbox.name}"')
    sandbox.start_workers()


async def crash_and_restore(sandbox: Sandbox) -> None:
    for name in WORKERS:
        sandbox.processes.kill(name)
    await administer(
        sandbox,
        f'DROP DATABASE "{sandbox.name}" WITH (FORCE)',
        f'ALTER DATABASE "{sandbox.name}_backup" RENAME TO "{sandbox.name}"',
    )


async def lose_records(sandbox: Sandbox, *topics: str) -> None:
    """Deletes all records of these topics, as retention would."""
    admin = AIOKafkaAdminClient(**client_options(sandbox.settings))
    await admin.start()
    ends = {
        TopicPartition(sandbox.settings.topic(topic), partition): RecordsToDelete(before_offset=-1)
        for topic in topics
        for partition in range(sandbox.settings.topic_partitions)
    }
    await admin.delete_records(ends)
    await admin.close()
