"""A ledger on a real database, one transaction at a time: records in, rows and outgoing records out."""

import json
from pathlib import Path
from typing import Any

import asyncpg
import orjson

from tests.integration.cycle_harness import PARTITIONS, CycleHarness, header
from worker.kafka import names
from worker.kafka.envelope import binary_headers
from worker.kafka.records import Headers, Outgoing, Record
from worker.ledger.checking import run_audit, run_rebuild
from worker.ledger.handler import LedgerHandler
from worker.postgres.connecting import connect
from worker.settings import load
from worker.stream.control import Control

NOON_MS = 1_768_478_400_000  # 2026-01-15T12:00:00Z
CONNECTORS = """
[connectors.c1]
url = "http://127.0.0.1:9/"
protocol = "ppp"
mode = "PARTIAL"
"""
_TOPICS = {"order": names.ORDER_CHANGES, "payment": names.ORDER_CHANGES, "invoice": names.INVOICES,
           "command": names.OUTCOMES}  # fmt: skip


class LedgerHarness(CycleHarness):
    """`send` makes a record pending, `cycle` lets the ledger handle it, `apply` does both."""

    now_ms = NOON_MS

    def __init__(self, connection: asyncpg.Connection, url: str, folder: Path, **settings: str) -> None:
        self.url = url
        self.file = folder / "connectors.toml"
        self.file.write_text(CONNECTORS)
        super().__init__(connection, load({
            "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "DATABASE_URL": url, "TOPIC_PREFIX": "t.",
            "TOPIC_PARTITIONS": str(PARTITIONS), "CONNECTORS_FILE": str(self.file), **settings,
        }))  # fmt: skip
        self.handler: LedgerHandler = LedgerHandler(Control(self.settings))

    def send(self, kind: str, data: object = None, *, partition: int | None = None, raw: bytes | None = None,
             headers: Headers = (), topic: str | None = None) -> Record:  # fmt: skip
        """A record as a producer writes it, in its order's home partition unless another is given."""
        order_id = str(data.get("orderId", "")) if isinstance(data, dict) else ""
        family = kind.split(".", maxsplit=1)[0]
        place = (topic or _TOPICS[family], self.home(order_id) if partition is None else partition)
        envelope = binary_headers(kind, f"{kind}-{place}", "2026-01-15T12:00:00Z")
        return self.read(
            place, order_id, json.dumps(data).encode() if raw is None else raw, [*envelope, *headers], NOON_MS
        )

    def read_again(self, record: Record) -> None:
        """Makes a record pending that was handled before."""
        self.pending.append(record)

    async def apply(self, kind: str, data: object, **more: Any) -> list[Outgoing]:
        """Handles one fact in a cycle of its own."""
        self.send(kind, data, **more)
        return await self.cycle()

    def published(self, topic: str) -> list[dict[str, Any]]:
        """The data of every record published to one topic."""
        return [orjson.loads(record.value or b"") for record in self.outgoing if record.topic == topic]

    def commands(self) -> list[tuple[str, int]]:
        return [(kind(record).removeprefix("command."), orjson.loads(record.value or b"")["value"])
                for record in self.outgoing if record.topic == names.COMMANDS]  # fmt: skip

    def state(self, order_id: str) -> dict[str, Any]:
        """The order's last published state."""
        return [state for state in self.published(names.ORDERS) if state["orderId"] == order_id][-1]

    def dead(self) -> list[tuple[str, str]]:
        """Topic and reason of every dead letter."""
        return [(record.topic.removesuffix("-dlt"), header(record, "kafka_dlt-exception-fqcn"))
                for record in self.outgoing if record.topic.endswith("-dlt")]  # fmt: skip

    async def succeed(self, place: int = -1, **more: Any) -> None:
        """Reports that a command succeeded: the last one, unless `place` says which."""
        command = self.published(names.COMMANDS)[place]
        await self.apply("command.succeeded", outcome(command, **more))

    async def is_sound(self) -> bool:
        """Whether neither the audit nor the rebuild finds a fault."""
        return bool((await run_audit(self.settings))["ok"] and (await run_rebuild(self.settings))["ok"])

    async def second_worker(self) -> "LedgerHarness":
        """A second worker on the same database and the same topics."""
        second = LedgerHarness(await connect(self.url, name="second", schema="ledger"), self.url, self.file.parent)
        second._next_offsets = self._next_offsets
        return second


def kind(record: Outgoing) -> str:
    return header(record, "ce_type")


def outcome(command: dict[str, Any], **more: Any) -> dict[str, Any]:
    names_ = ("commandId", "requestId", "orderId", "paymentId", "value")
    done = {"operationId": f"done-{command['commandId']}", "attempts": 1, "at": "2026-01-15T12:00:01Z"}
    return {name: command[name] for name in names_} | done | more


def authorized(order_id: str, value: int = 10_000, payments: list[dict[str, Any]] | None = None, **more: Any
               ) -> dict[str, Any]:  # fmt: skip
    full = [payment(f"{order_id}.p{n}", **given) for n, given in enumerate(payments or [{"value": value}], 1)]
    return {"orderId": order_id, "merchant": "shop", "currency": "USD", "value": value, "payments": full} | more


def payment(payment_id: str, value: int = 10_000, connector: str = "c1", **more: Any) -> dict[str, Any]:
    return {"paymentId": payment_id, "transactionId": "T", "authorizationId": f"{payment_id}.A", "connector": connector,
            "value": value} | more  # fmt: skip


def invoice(order_id: str, number: str, value: int, type_: str = "Output", **more: Any) -> dict[str, Any]:
    return {"orderId": order_id, "type": type_, "invoiceNumber": number, "invoiceValue": value,
            "issuanceDate": "2026-01-15T12:00:00Z"} | more  # fmt: skip


# A change that exceeds an order of 5000, and one that increases its value so that the first would be accepted.
CHANGE = {"orderId": "o1", "requestId": "c", "reason": "r", "discountValue": 6000, "incrementValue": 0}
INCREMENT = CHANGE | {"requestId": "more", "discountValue": 0, "incrementValue": 3000}

_GUARDED = ("entries", "facts", "events")
# Statements that a tamperer with the owner's rights runs first and last.
UNGUARD = ";".join(f"ALTER TABLE {table} DISABLE TRIGGER USER" for table in _GUARDED)
GUARD = ";".join(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER append_only" for table in _GUARDED)
