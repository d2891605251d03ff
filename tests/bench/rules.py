"""The speed of the rules alone: facts per second on one core, the cost of each kind, the size of an order's state."""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable

import msgspec

from tests.bench import page
from tests.bench.rounds import Figure
from worker.domain.decide import decide
from worker.domain.facts import (
    Authorization,
    CancelRequested,
    ConnectorsNamed,
    Fact,
    InvoiceIssued,
    OrderAuthorized,
    OrderChanged,
    OutcomeReported,
    PaymentAuthorized,
    PaymentAutoSettled,
    TimePassed,
    TrackingUpdated,
)
from worker.domain.order import Command, Order
from worker.domain.terms import HOUR_MS, Capability, Terms

FACTS = 20_000
NOW_MS = 1_800_000_000_000
TERMS = Terms(now_ms=NOW_MS, capabilities={"acme": Capability("PARTIAL")})
UNKNOWN_CONNECTOR = Terms(now_ms=NOW_MS)

Costs = dict[str, list[float]]
Step = Fact | tuple[Fact, Terms]
Life = Callable[[str], list[Step]]


def _payment(payment_id: str, value: int, expires_at_ms: int | None = None) -> Authorization:
    return Authorization(
        payment_id=payment_id, transaction_id="T", authorization_id="A", connector="acme", value=value,
        reference_value=value, max_value=value, expires_at_ms=expires_at_ms,
    )  # fmt: skip


def _authorized(order: str, value: int, *payments: Authorization) -> OrderAuthorized:
    return OrderAuthorized(
        order_id=order, merchant="shop", currency="USD", value=value,
        payments=payments or (_payment(f"{order}-card", value),),
    )  # fmt: skip


def _invoice(order: str, number: str, value: int) -> InvoiceIssued:
    return InvoiceIssued(order_id=order, type="Output", invoice_number=number, invoice_value=value)


def _in_parcels(parcels: int) -> Life:
    """An order with one discount, finished by an invoice for each parcel."""

    def life(order: str) -> list[Step]:
        return [
            _authorized(order, parcels * 1000 + 500),
            OrderChanged(order_id=order, request_id="c", discount_value=500, increment_value=0),
            *(_invoice(order, str(number), 1000) for number in range(parcels)),
        ]

    return life


def _eventful(order: str) -> list[Step]:
    """An order with a late connector, an expiring card, a second payment, an automatic settlement and a return."""
    opened = _authorized(order, 9000, _payment(f"{order}-a", 6000, NOW_MS + HOUR_MS), _payment(f"{order}-b", 3000))
    return [
        (opened, UNKNOWN_CONNECTOR),
        ConnectorsNamed(order_id=order),
        OrderChanged(order_id=order, request_id="more", discount_value=0, increment_value=1000),
        PaymentAuthorized(order_id=order, payment=_payment(f"{order}-c", 1000)),
        _invoice(order, "1", 4000),
        TrackingUpdated(order_id=order, invoice_number="1", fields={"courier": "post", "trackingNumber": "4711"}),
        PaymentAutoSettled(order_id=order, payment_id=f"{order}-a", settle_id="auto", value=500),
        InvoiceIssued(order_id=order, type="Input", invoice_number="back", invoice_value=1500),
        _invoice(order, "2", 6000),
        (TimePassed(order_id=order), Terms(now_ms=NOW_MS + 2 * HOUR_MS, capabilities=TERMS.capabilities)),
    ]


def _canceled(order: str) -> list[Step]:
    """A canceled order: an automatic settlement is refunded, the rest is voided."""
    return [
        _authorized(order, 5000),
        PaymentAutoSettled(order_id=order, payment_id=f"{order}-card", settle_id="auto", value=1000),
        CancelRequested(order_id=order, reason="changed my mind"),
    ]


LIVES: dict[str, Life] = {
    "3 parcels": _in_parcels(3), "100 parcels": _in_parcels(100), "eventful": _eventful, "canceled": _canceled,
}  # fmt: skip


def _play(order_id: str, steps: list[Step], costs: Costs) -> Order:
    """Applies the facts to an order one by one; each command succeeds at once."""
    order = Order(order_id)
    pending = list(steps)
    while pending:
        step = pending.pop(0)
        fact, terms = step if isinstance(step, tuple) else (step, TERMS)
        started = time.perf_counter()
        decision = decide(order, fact, terms)
        costs[type(fact).__name__].append(time.perf_counter() - started)
        assert decision.fate == "applied", (decision.fate, fact)
        order = decision.order
        pending[:0] = [_success(order_id, command) for command in decision.commands]
    return order


def _success(order_id: str, command: Command) -> OutcomeReported:
    return OutcomeReported(
        order_id=order_id, outcome="succeeded", command_id=command.command_id, payment_id=command.payment_id,
        value=command.value, operation_id=command.command_id[:8],
    )  # fmt: skip


def run(rounds: int) -> dict[str, tuple[Figure, Costs, int]]:
    """For each kind of order: facts per second, the cost of each kind of fact, the final size of the state."""
    results = {}
    for name, life in LIVES.items():
        rates, costs = Figure(), defaultdict[str, list[float]](list)
        for round_ in range(rounds):
            round_costs: Costs = defaultdict(list)
            number = 0
            while sum(map(len, round_costs.values())) < FACTS:
                order_id = f"order-{round_}-{number}"
                order = _play(order_id, life(order_id), round_costs)
                number += 1
            rates.values.append(sum(map(len, round_costs.values())) / sum(map(sum, round_costs.values())))
            for kind, seconds in round_costs.items():
                costs[kind] += seconds
        results[name] = rates, costs, len(msgspec.json.encode(order))
    return results


def section(results: dict[str, tuple[Figure, Costs, int]]) -> page.Section:
    kinds = dict.fromkeys(kind for _, costs, _ in results.values() for kind in costs)
    rows: list[tuple[object, ...]] = [("**facts/s**", *(f"**{rates}**" for rates, _, _ in results.values()))]
    for kind in kinds:
        seconds = (costs.get(kind) for _, costs, _ in results.values())
        rows.append((f"{kind}, µs", *(f"{statistics.median(cost) * 1e6:.0f}" if cost else "" for cost in seconds)))
    rows.append(("state at the end, bytes", *(f"{size:,}" for _, _, size in results.values())))
    return page.Section("rules", page.table(("an order", *results), rows), "make bench-rules")
