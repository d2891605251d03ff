"""A backup of a whole deployment's database, its loss, and what can be asked of the one that is restored."""

import asyncio
from collections.abc import Iterable

import asyncpg
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from tests.chaos.rehearsing import SECONDS_MAX
from tests.until import until
from worker.kafka import names
from worker.kafka.connecting import client_options
from worker.kafka.source import Source
from worker.sandbox.deployment import Sandbox
from worker.sandbox.erp import Message

DATE = "2026-01-15T12:00:00Z"
REFUSED = 1
WORKERS = ("ledger", "delivery")


def invoice(order: str, number: str, value: int, kind: str = "Output") -> Message:
    data = {"orderId": order, "type": kind, "invoiceNumber": number, "invoiceValue": value, "issuanceDate": DATE}
    return Message(names.INVOICES, "invoice.issued", data)


def authorized(order: str, value: int, payments: Iterable[tuple[str, int]]) -> Message:
    """An order of the shop; each payment is its connector's name and its amount."""
    data = {
        "orderId": order, "merchant": "shop", "currency": "BRL", "value": value,
        "payments": [
            {"paymentId": f"{order}-{name}", "transactionId": "T", "authorizationId": "A", "connector": name,
             "value": amount, "tid": "tid"}
            for name, amount in payments
        ],
    }  # fmt: skip
    return Message(names.ORDER_CHANGES, "order.authorized", data)


async def administer(play: Sandbox, *statements: str) -> None:
    connection = await asyncpg.connect(play._server)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


async def rows(play: Sandbox, query: str) -> list[tuple]:
    connection = await asyncpg.connect(play.settings.database)
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def ask(play: Sandbox, query: str):
    found = await rows(play, query)
    return found[0][0] if found else None


async def until_asked(play: Sandbox, wanted: object, query: str) -> None:
    """The database says so, and every program lives."""

    async def said() -> bool:
        play.poll()
        return await ask(play, query) == wanted

    await until(said, SECONDS_MAX)


async def until_read(play: Sandbox, *topics: str) -> None:
    """The ledger's positions are the ends of these topics, on which nobody writes any more."""
    source = Source(play.settings, "look", topics, lambda: None)
    await source.start()
    partitions = range(play.settings.topic_partitions)
    bounds = await source.looker.bounds([(topic, partition) for topic in topics for partition in partitions])
    await source.stop()
    listed = ", ".join(f"'{topic}'" for topic in topics)
    query = f"SELECT coalesce(sum(next_offset), 0)::bigint FROM ledger.positions WHERE topic IN ({listed})"
    await until_asked(play, sum(end for _, end in bounds.values()), query)


async def back_up(play: Sandbox) -> None:
    await asyncio.to_thread(play.processes.stop, *WORKERS)
    await administer(play, f'CREATE DATABASE "{play.name}_backup" TEMPLATE "{play.name}"')
    play.start_workers()


async def crash_and_restore(play: Sandbox) -> None:
    for name in WORKERS:
        play.processes.kill(name)
    await administer(
        play,
        f'DROP DATABASE "{play.name}" WITH (FORCE)',
        f'ALTER DATABASE "{play.name}_backup" RENAME TO "{play.name}"',
    )


async def lose_records(play: Sandbox, *topics: str) -> None:
    """What retention does, at once and with all of them."""
    admin = AIOKafkaAdminClient(**client_options(play.settings))
    await admin.start()
    everything = {
        TopicPartition(play.settings.topic(topic), partition): RecordsToDelete(before_offset=-1)
        for topic in topics
        for partition in range(play.settings.topic_partitions)
    }
    await admin.delete_records(everything)
    await admin.close()
