"""A minimal feature for tests of the stream around it; `python -m` runs it as a program.

Each record names an order by its key; the order's version grows by one and its new state is published to its
home partition. Special values: `poison` breaks a CHECK, `wait` blocks on an advisory lock, `refuse` is dead-lettered.
"""

import asyncio
import json
import os
import sys
from collections.abc import Collection, Mapping, Sequence

import asyncpg

from worker.kafka import names
from worker.kafka.envelope import binary_headers
from worker.kafka.records import Outgoing, Record
from worker.settings import load
from worker.stream import outbox
from worker.stream.control import Control
from worker.stream.cycle import Cycle, TakenPartition
from worker.stream.runner import run_worker

TABLES = """
CREATE TABLE public.toy_orders (order_id text PRIMARY KEY, version integer NOT NULL DEFAULT 0);
CREATE TABLE public.toy_seen (
    topic text, partition integer, "offset" bigint, order_id text, value text CHECK (value <> 'poison'),
    worker text, PRIMARY KEY (topic, partition, "offset"));
"""
WAIT_LOCK = 77
LOCK_ORDERS = """
INSERT INTO public.toy_orders (order_id) SELECT * FROM unnest($1::text[]) ON CONFLICT DO NOTHING"""


class Toy:
    role = "ledger"
    topics = (names.INVOICES, names.ORDER_CHANGES, names.OUTCOMES)
    outputs = (names.ORDERS,)

    def __init__(self, control: Control) -> None:
        self.control = control
        self.name = os.environ.get("TOY_NAME", "toy")
        self.taken_partitions: dict[int, TakenPartition] = {}
        self.cycles = 0
        self.drops = 0
        self.released: list[frozenset[int]] = []
        self.errors: list[BaseException] = []
        """What the next cycles with records raise, one each."""

    async def unknown(self, connection: asyncpg.Connection, records: Sequence[Record]) -> Record | None:
        rows = await connection.fetch("SELECT order_id, version FROM public.toy_orders")
        versions = {row["order_id"]: row["version"] for row in rows}
        for record in records:
            state = json.loads(record.value or b"{}")
            if state["version"] > versions.get(state["orderId"], 0):
                return record
        return None

    async def taken(self, _: asyncpg.Connection, taken: Mapping[int, TakenPartition]) -> None:
        self.taken_partitions |= taken

    async def release(self, partitions: frozenset[int]) -> None:
        self.released.append(partitions)

    def dropped(self) -> None:
        self.drops += 1
        self.taken_partitions = {}

    def next_due_ms(self) -> int | None:
        return None

    async def handle(self, cycle: Cycle) -> None:
        if cycle.records and self.errors:
            raise self.errors.pop(0)
        if not cycle.records:
            return
        orders = sorted({_order(record) for record in cycle.records})
        await cycle.connection.execute(LOCK_ORDERS, orders)
        rows = await cycle.connection.fetch(
            "SELECT * FROM public.toy_orders WHERE order_id = ANY($1) ORDER BY order_id FOR UPDATE",
            orders,
        )
        versions = {row["order_id"]: row["version"] for row in rows}
        for record in cycle.records:
            if record.value == b"wait":
                await cycle.connection.execute("SELECT pg_advisory_xact_lock($1)", WAIT_LOCK)
            if record.value == b"refuse":
                cycle.dead_letter(record, "rejected", "it was asked for", order_id=_order(record), merchant="shop")
                continue
            versions[_order(record)] += 1
            cycle.publish(self._state(cycle, _order(record), versions[_order(record)]))
        await self._book(cycle, versions)

    async def committed(self, _: Cycle) -> None:
        self.cycles += 1

    def reload(self) -> None:
        pass

    def clock_set_back(self, _: float) -> None:
        pass

    async def measure(self, connection: asyncpg.Connection, partitions: Collection[int]) -> None:
        pass

    async def close(self) -> None:
        pass

    async def _book(self, cycle: Cycle, versions: dict[str, int]) -> None:
        records = cycle.records
        await cycle.connection.execute(
            "INSERT INTO public.toy_seen SELECT *, $6 FROM unnest("
            "$1::text[], $2::integer[], $3::bigint[], $4::text[], $5::text[])",
            [record.topic for record in records], [record.partition for record in records],
            [record.offset for record in records], [_order(record) for record in records],
            [(record.value or b"").decode()[:100] for record in records], self.name,
        )  # fmt: skip
        await cycle.connection.execute(
            "UPDATE public.toy_orders SET version = new.version FROM unnest($1::text[], $2::integer[])"
            " AS new (order_id, version) WHERE toy_orders.order_id = new.order_id",
            list(versions), list(versions.values()),
        )  # fmt: skip

    def _state(self, cycle: Cycle, order_id: str, version: int) -> Outgoing:
        value = json.dumps({"orderId": order_id, "version": version}).encode()
        headers = binary_headers("order.state", f"{order_id}/{version}", "2026-01-15T12:00:00Z")
        return Outgoing(names.ORDERS, cycle.partition_of(order_id), order_id.encode(), value, headers)


def _order(record: Record) -> str:
    return (record.key or b"nobody").decode()


if __name__ == "__main__":
    outbox.MISPLACED_ROWS_MAX = int(os.environ.get("TOY_MISPLACED_ROWS_MAX", outbox.MISPLACED_ROWS_MAX))
    sys.exit(asyncio.run(run_worker(load(), Toy)))
