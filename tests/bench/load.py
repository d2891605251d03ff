"""The load: orders in several parcels, as an ERP writes them; successive messages belong to different orders."""

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from worker.kafka import envelope, names
from worker.kafka.murmur2 import murmur2
from worker.kafka.records import Outgoing

CONNECTOR = "acme"
CONNECTORS = f'[connectors.{CONNECTOR}]\nurl = "http://127.0.0.1:9"\nprotocol = "ppp"\nmode = "PARTIAL"\n'
PARCEL = 1_000
_AT = "2026-01-15T12:00:00Z"


def order_ids(name: str, count: int) -> list[str]:
    return [f"{name}-{number:07}" for number in range(count)]


def orders(ids: Iterable[str], parcels: int, partitions: int) -> Iterator[Outgoing]:
    """The authorization of each order, of exactly the value of its parcels."""
    for order_id in ids:
        payment = {
            "paymentId": f"{order_id}-card", "transactionId": f"{order_id}-T", "authorizationId": f"{order_id}-A",
            "connector": CONNECTOR, "value": parcels * PARCEL, "tid": f"{order_id}-tid", "group": "creditCard",
        }  # fmt: skip
        data = {
            "orderId": order_id, "merchant": "bench-store", "currency": "BRL", "value": parcels * PARCEL,
            "payments": [payment], "createdAt": _AT,
        }  # fmt: skip
        yield _record(names.ORDER_CHANGES, "order.authorized", order_id, order_id, data, partitions)


def invoices(ids: Iterable[str], parcels: Iterable[int], partitions: int) -> Iterator[Outgoing]:
    """The first parcel of every order, then the second of every order, and so on."""
    all_ids = list(ids)
    for parcel in parcels:
        for order_id in all_ids:
            data = {
                "orderId": order_id, "type": "Output", "invoiceNumber": f"N{parcel}", "invoiceValue": PARCEL,
                "issuanceDate": _AT, "items": [{"id": "sku-1", "price": PARCEL, "quantity": 1}],
            }  # fmt: skip
            yield _record(names.INVOICES, "invoice.issued", order_id, f"{order_id}-N{parcel}", data, partitions)


def outcome(command: dict[str, Any]) -> dict[str, Any]:
    """The outcome that the delivery worker publishes for a command that the connector has carried out."""
    copied = {name: command[name] for name in ("commandId", "requestId", "orderId", "paymentId", "value")}
    return copied | {"operationId": f"op-{command['commandId'][:18]}", "attempts": 1, "at": _AT}


def home(order_id: str, partitions: int) -> int:
    return (murmur2(order_id.encode()) & 0x7FFFFFFF) % partitions


def _record(topic: str, kind: str, order_id: str, id_: str, data: dict[str, Any], partitions: int) -> Outgoing:
    return Outgoing(
        topic,
        home(order_id, partitions),
        order_id.encode(),
        orjson.dumps(data),
        envelope.binary_headers(kind, id_, _AT),
    )
