"""Orders as they come in operation: several payments, interest, changes, cancellations, repeats, rubbish, disorder."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from worker.kafka import names
from worker.sandbox.erp import DATE, Message, invoice, parcels_of

GROUPS = ("creditCard", "debitCard", "giftCard", "promissory", "instantPayment", "bankInvoice")
VALUE_MIN, VALUE_MAX = 2_000, 60_000
EXPIRES_SECONDS_MAX = 90


@dataclass(frozen=True)
class MessyOrder:
    """What somebody says about one order, in the sequence in which it arrives."""

    messages: tuple[Message, ...]


def messy_orders(connectors: list[str], dice: random.Random, name: str) -> Iterator[MessyOrder]:
    """Endless."""
    number = 0
    while True:
        number += 1
        order_id = f"{name}-{number:06}"
        yield MessyOrder(tuple(_arriving(list(_messages(order_id, dice.choice(connectors), dice)), dice)))


def _messages(order_id: str, connector: str, dice: random.Random) -> Iterator[Message]:
    value = dice.randrange(VALUE_MIN, VALUE_MAX)
    # Sometimes the payments cover less than the order; another one follows, or its last invoices wait for ever.
    covered = value if dice.random() < 0.9 else dice.randrange(value // 2, value)
    parts = parcels_of(covered, dice.choice((1, 1, 1, 2, 3)), dice)
    payments = [_payment(f"{order_id}-p{place}", connector, part, dice) for place, part in enumerate(parts)]
    yield Message(names.ORDER_CHANGES, "order.authorized", {
        "orderId": order_id, "merchant": "sandbox-store", "currency": "BRL", "value": value, "payments": payments,
        "createdAt": DATE,
    })  # fmt: skip
    if covered < value and dice.random() < 0.7:
        payment = _payment(f"{order_id}-late", connector, value - covered, dice)
        yield Message(names.ORDER_CHANGES, "payment.authorized", {"orderId": order_id, "payment": payment})
    for place in range(dice.choice((0, 0, 0, 1, 2))):
        discount, increment = dice.choice(((value // 5, 0), (0, value // 10), (value // 4, value // 8)))
        yield Message(names.ORDER_CHANGES, "order.changed", {
            "orderId": order_id, "requestId": f"C{place}", "reason": "a piece was out of stock",
            "discountValue": discount, "incrementValue": increment,
        })  # fmt: skip
    for place, part in enumerate(parcels_of(value, dice.randint(1, 4), dice)):
        yield invoice(order_id, f"N{place}", part)
        if dice.random() < 0.15:
            yield invoice(order_id, f"R{place}", dice.randrange(1, part + 1), "Input")
    if dice.random() < 0.05:
        yield invoice(order_id, "beyond", value)
    if dice.random() < 0.1:
        yield Message(names.ORDER_CHANGES, "order.cancel_requested", {"orderId": order_id, "reason": "changed my mind"})


def _payment(payment_id: str, connector: str, reference: int, dice: random.Random) -> dict[str, Any]:
    payment: dict[str, Any] = {
        "paymentId": payment_id, "transactionId": f"{payment_id}-T", "authorizationId": f"{payment_id}-A",
        "connector": connector, "value": reference, "tid": f"{payment_id}-tid", "group": dice.choice(GROUPS),
    }  # fmt: skip
    if dice.random() < 0.2:  # with interest
        payment |= {"value": reference + reference * dice.randint(1, 30) // 100, "referenceValue": reference}
    if dice.random() < 0.1:
        payment["maxValue"] = payment["value"] + payment["value"] // 10
    if dice.random() < 0.05:
        expires_at = datetime.now(UTC) + timedelta(seconds=dice.randrange(EXPIRES_SECONDS_MAX))
        payment["expiresAt"] = expires_at.isoformat()
    return payment


def _arriving(messages: list[Message], dice: random.Random) -> list[Message]:
    """Some twice, some beside rubbish, some orders in any sequence."""
    repeated = [message for message in messages if dice.random() < 0.1]
    if dice.random() < 0.05:
        repeated.append(_rubbish(messages[0].order_id, dice))
    if dice.random() < 0.2:
        arriving = messages + repeated
        dice.shuffle(arriving)
        return arriving
    for message in repeated:
        messages.insert(dice.randint(1, len(messages)), message)
    return messages


def _rubbish(order_id: str, dice: random.Random) -> Message:
    """A message that becomes a dead letter."""
    return dice.choice((
        Message(names.INVOICES, "invoice.issued", {"orderId": order_id, "type": "Output"}),
        Message(names.INVOICES, "invoice.eaten", {"orderId": order_id}),
        invoice(order_id, "N0", -5),
        invoice(order_id, "N0", VALUE_MAX * 2),
    ))  # fmt: skip
