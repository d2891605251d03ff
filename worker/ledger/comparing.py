"""The ledger beside a connector's own book, payment by payment, to the cent (I5)."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from msgspec import Struct, field

from worker.connector.book import Effect
from worker.connector.command import OPERATIONS
from worker.domain.kept import decode_order
from worker.domain.order import Operation, Payment
from worker.postgres.connecting import Connection
from worker.postgres.queries import load

_SQL = load("worker.ledger")
_DONE: dict[Operation, str] = {"settle": "settled", "refund": "refunded", "cancel": "voided"}


class Comparison(Struct):
    """One connector's money in the ledger and in its own book, and where they differ."""

    connector: str
    ledger: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_DONE.values(), 0))
    book: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_DONE.values(), 0))
    payments: int = 0
    differences: list[str] = field(default_factory=list)


async def compare(connection: Connection, connector: str, effects: Iterable[Effect]) -> Comparison:
    """What is in flight may be in the connector's book already; everything else must agree."""
    found = Comparison(connector)
    booked: defaultdict[str, Counter[Operation]] = defaultdict(Counter)
    seen: Counter[tuple[str, str]] = Counter()
    for effect in effects:
        booked[effect.payment_id][effect.operation] += effect.value
        found.book[_DONE[effect.operation]] += effect.value
        seen[effect.payment_id, effect.request_id] += 1
    found.differences += [
        f"payment {payment_id}: {times} effects of the one request {request_id}"
        for (payment_id, request_id), times in seen.items() if times > 1
    ]  # fmt: skip
    async for row in connection.cursor(_SQL["orders_of_connector"], connector):
        for payment in decode_order(row["document"]).payments:
            if payment.connector == connector:
                found.payments += 1
                _count(found, payment)
                found.differences += _differences(payment, booked.pop(payment.payment_id, Counter()))
    found.differences += [
        f"payment {name}: the connector moved money of it, and the ledger does not know it" for name in booked
    ]
    return found


def _count(found: Comparison, payment: Payment) -> None:
    for operation, (done, _) in _sums(payment).items():
        found.ledger[_DONE[operation]] += done


def _differences(payment: Payment, book: Counter[Operation]) -> Iterator[str]:
    for operation, (done, under_way) in _sums(payment).items():
        if not done <= book[operation] <= done + under_way:
            yield (
                f"payment {payment.payment_id}: the connector {_DONE[operation]} {book[operation]}, "
                f"the ledger says {done}" + (f" and {under_way} under way" if under_way else "")
            )


def _sums(payment: Payment) -> dict[Operation, tuple[int, int]]:
    """Done and under way; a void that was only booked was never asked of the connector."""
    sums = (
        (payment.settled, payment.settling),
        (payment.refunded, payment.refunding),
        (payment.voided - payment.booked, payment.voiding + payment.booked if payment.voiding else 0),
    )
    return dict(zip(OPERATIONS, sums, strict=True))
