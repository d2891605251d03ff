"""How fast the rules are alone: facts per second on one core, what each kind costs, how large an order's state is."""

import statistics
import time
from collections import defaultdict
from collections.abc import Iterator

import msgspec
import pytest

from worker.domain.decide import decide
from worker.domain.facts import Authorization, Fact, InvoiceIssued, OrderAuthorized, OrderChanged, OutcomeReported
from worker.domain.order import Order
from worker.domain.terms import Capability, Terms

ROUNDS = 5
FACTS = 20_000
TERMS = Terms(now_ms=1_800_000_000_000, capabilities={"acme": Capability("PARTIAL")})

Costs = dict[str, list[float]]


def _authorized(order_id: str, value: int) -> OrderAuthorized:
    payment = Authorization(
        payment_id=f"{order_id}-card", transaction_id="T", authorization_id="A", connector="acme", value=value,
        reference_value=value, max_value=value,
    )  # fmt: skip
    return OrderAuthorized(order_id=order_id, merchant="shop", currency="USD", value=value, payments=(payment,))


def _play(order_id: str, invoices: int, costs: Costs) -> Order:
    """An order in so many parcels, one discount, every command answered."""
    order = Order(order_id)

    def give(fact: Fact) -> Iterator[Fact]:
        nonlocal order
        began = time.perf_counter()
        decision = decide(order, fact, TERMS)
        costs[type(fact).__name__].append(time.perf_counter() - began)
        order = decision.order
        for command in decision.commands:
            yield OutcomeReported(
                order_id=order_id, outcome="succeeded", command_id=command.command_id,
                payment_id=command.payment_id, value=command.value, operation_id=command.command_id[:8],
            )  # fmt: skip

    waiting: list[Fact] = [_authorized(order_id, invoices * 1000 + 500)]
    waiting.append(OrderChanged(order_id=order_id, request_id="c", discount_value=500, increment_value=0))
    waiting += [
        InvoiceIssued(order_id=order_id, type="Output", invoice_number=str(number), invoice_value=1000)
        for number in range(invoices)
    ]
    while waiting:
        waiting[:0] = list(give(waiting.pop(0)))
    assert order.phase == "finished"
    return order


@pytest.mark.parametrize("invoices", [3, 100])
def test_decide(invoices: int) -> None:
    rates = []
    for round_ in range(ROUNDS):
        costs: Costs = defaultdict(list)
        orders = FACTS // (2 * invoices + 3)
        for number in range(orders):
            order = _play(f"order-{round_}-{number}", invoices, costs)
        rates.append(sum(map(len, costs.values())) / sum(map(sum, costs.values())))
    size = len(msgspec.json.encode(order))

    print(f"\norders with {invoices} invoices: {statistics.median(rates):,.0f} facts/s on one core", end=" ")
    print(f"({min(rates):,.0f} to {max(rates):,.0f}); the state is {size:,} bytes")
    for kind, seconds in costs.items():
        print(f"  {kind:<16} {statistics.median(seconds) * 1e6:6.1f} µs")
