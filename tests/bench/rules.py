"""How fast the rules are alone: facts per second on one core, what each kind costs, how large an order's state is."""

import statistics
import time
from collections import defaultdict
from collections.abc import Iterator

import msgspec

from tests.bench import page
from tests.bench.rounds import Figure
from worker.domain.decide import decide
from worker.domain.facts import Authorization, Fact, InvoiceIssued, OrderAuthorized, OrderChanged, OutcomeReported
from worker.domain.order import Order
from worker.domain.terms import Capability, Terms

FACTS = 20_000
TERMS = Terms(now_ms=1_800_000_000_000, capabilities={"acme": Capability("PARTIAL")})

Costs = dict[str, list[float]]
PARCELS = (3, 100)


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


def run(rounds: int) -> dict[int, tuple[Figure, Costs, int]]:
    """For orders in so many parcels: facts per second, what each kind of fact costs, how large the state gets."""
    found = {}
    for parcels in PARCELS:
        rates, costs = Figure(), defaultdict[str, list[float]](list)
        for round_ in range(rounds):
            mine: Costs = defaultdict(list)
            for number in range(FACTS // (2 * parcels + 3)):
                order = _play(f"order-{round_}-{number}", parcels, mine)
            rates.values.append(sum(map(len, mine.values())) / sum(map(sum, mine.values())))
            for kind, seconds in mine.items():
                costs[kind] += seconds
        found[parcels] = rates, costs, len(msgspec.json.encode(order))
    return found


def section(found: dict[int, tuple[Figure, Costs, int]]) -> page.Section:
    kinds = list(found[PARCELS[0]][1])
    rows = []
    for parcels, (rates, costs, size) in found.items():
        each = (f"{statistics.median(costs[kind]) * 1e6:.0f}" for kind in kinds)
        rows.append((f"orders in {parcels} parcels", rates, *each, f"{size:,}"))
    head = ("", "facts/s", *(f"{kind}, µs" for kind in kinds), "state, bytes")
    return page.Section("rules", page.table(head, rows), "make bench-rules")
