"""Generates the messages of a simulated ERP: orders shipped in parts. The same seed gives the same orders."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from worker.kafka import names

# The date of every message: a constant, so that the same seed gives the same bytes.
DATE = "2026-01-15T12:00:00Z"


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the contract, without its headers."""

    topic: str
    type: str
    data: dict[str, Any]

    @property
    def order_id(self) -> str:
        return str(self.data["orderId"])


@dataclass(frozen=True, slots=True)
class ErpOrder:
    """One order: its messages in sequence, and the totals that must be settled and refunded in the end."""

    order_id: str
    messages: tuple[Message, ...]
    settled: int
    refunded: int


def erp_orders(count: int, connectors: list[str], seed: int, name: str = "order") -> Iterator[ErpOrder]:
    rng = random.Random(seed)
    for number in range(1, count + 1):
        yield _order(f"{name}-{number:06}", rng.choice(connectors), rng)


def _order(order_id: str, connector: str, rng: random.Random) -> ErpOrder:
    """An order in two to four parcels; one in five gets a discount after its authorization, one in ten a return."""
    value = rng.randrange(2_000, 60_000)
    discount = rng.randrange(1, value // 4) if rng.random() < 0.2 else 0
    parcels = parcels_of(value - discount, rng.randint(2, 4), rng)
    messages = [_authorized(order_id, connector, value), invoice(order_id, "1", parcels[0])]
    if discount:
        messages.append(_discount(order_id, discount))
    messages += [invoice(order_id, str(place), parcel) for place, parcel in enumerate(parcels[1:], 2)]
    returned = rng.randrange(1, parcels[0] + 1) if rng.random() < 0.1 else 0
    if returned:
        messages.append(invoice(order_id, "R1", returned, "Input"))
    return ErpOrder(order_id, tuple(messages), value - discount, returned)


def parcels_of(value: int, count: int, rng: random.Random) -> list[int]:
    """Splits the value at random into parts of at least 1."""
    cuts = sorted(rng.sample(range(1, value), count - 1))
    return [after - before for before, after in zip([0, *cuts], [*cuts, value], strict=True)]


def _authorized(order_id: str, connector: str, value: int) -> Message:
    payment = {
        "paymentId": f"{order_id}-card", "transactionId": f"{order_id}-T", "authorizationId": f"{order_id}-A",
        "connector": connector, "value": value, "tid": f"{order_id}-tid", "group": "creditCard",
    }  # fmt: skip
    data = {
        "orderId": order_id, "merchant": "sandbox-store", "currency": "BRL", "value": value,
        "payments": [payment], "createdAt": DATE,
    }  # fmt: skip
    return Message(names.ORDER_CHANGES, "order.authorized", data)


def invoice(order_id: str, number: str, value: int, kind: str = "Output") -> Message:
    """An invoice: `Output` of a sale, `Input` of a return."""
    data = {
        "orderId": order_id, "type": kind, "invoiceNumber": number, "invoiceValue": value, "issuanceDate": DATE,
        "items": [{"id": "sku-1", "price": value, "quantity": 1}],
    }  # fmt: skip
    return Message(names.INVOICES, "invoice.issued", data)


def _discount(order_id: str, discount: int) -> Message:
    data = {
        "orderId": order_id, "requestId": f"{order_id}-C1", "reason": "one piece was out of stock",
        "discountValue": discount, "incrementValue": 0,
    }  # fmt: skip
    return Message(names.ORDER_CHANGES, "order.changed", data)
