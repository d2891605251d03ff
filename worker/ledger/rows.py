"""The rows that a cycle writes. Each order is encoded while it is still in the processor's cache."""

from collections.abc import Sequence
from typing import Any

from worker.domain.decide import next_deadline_ms
from worker.domain.kept import encode
from worker.domain.order import Payment
from worker.domain.published import needs_attention, needs_authorization
from worker.ledger.order_fold import OrderFold
from worker.ledger.waiting import Waiting
from worker.postgres.values import moment, moment_or_none
from worker.settings import Settings
from worker.stream.stored_records import encode_headers

Row = tuple[Any, ...]


class Rows:
    """Rows, gathered order by order. Their columns are those of the statement in `tables.sql`, in its order."""

    def __init__(self, settings: Settings) -> None:
        self._expiry_lead_ms = settings.expiry_lead_ms
        self.orders: list[Row] = []
        self.payments: list[Row] = []
        self.payment_balances: list[Row] = []
        self.commands: list[Row] = []
        self.facts: list[Row] = []
        self.events: list[Row] = []
        self.entries: list[tuple[int, Row]] = []
        """Chain → the entry's content, not linked yet."""
        self.settlements: list[Row] = []
        self.removed_settlements: list[Row] = []
        self.parked: list[Row] = []
        self.moved_parked: list[Row] = []
        self.unparked: list[int] = []

    def add(self, fold: OrderFold, events: Sequence[bytes], awaits: list[str] | None) -> None:
        """Adds the rows of one order.

        `events`: the new ones, encoded. `awaits`: connectors that it waits for and the file does not name; None: none.
        """
        order_id = fold.order.order_id
        if fold.decided:
            self._add_payments(fold)
            self._add_settlements(fold)
        for fact in fold.decided:
            source = fact.source or (None, None, None)
            self.facts.append(
                (order_id, fact.sequence, fact.fate, fact.fact, fact.terms, *source, moment(fact.at_ms), fact.items)
            )
            for one in fact.commands:
                self.commands.append(
                    (one.command_id, one.request_id, order_id, one.payment_id, one.sequence, one.operation, one.value)
                )
            for entry in fact.entries:
                content = (
                    order_id, fact.sequence, entry.payment_id, entry.debit, entry.credit, entry.amount,
                    fold.order.currency, entry.rule, entry.command_id,
                )  # fmt: skip
                self.entries.append((fold.chain, content))
        self.events += [(order_id, one.sequence, message) for one, message in zip(fold.events, events, strict=True)]
        if fold.waiting.changed:
            self._add_waiting(order_id, fold.waiting)
        self.orders.append(self._order_row(fold, awaits))

    def _add_payments(self, fold: OrderFold) -> None:
        """Adds new payments, and balances that changed."""
        order, stored = fold.order, {one.payment_id: _sums(one) for one in fold.stored_payments}
        for one in order.payments:
            balance, before = _sums(one), stored.get(one.payment_id)
            if before is None:
                fixed = (one.payment_id, order.order_id, one.connector, order.currency, one.authorized, one.cap)
                self.payments.append((*fixed, *balance))
            elif balance != before:
                self.payment_balances.append((one.payment_id, *balance))

    def _add_settlements(self, fold: OrderFold) -> None:
        stored = {(payment.payment_id, one.settle_id): one for payment in fold.stored_payments
                  for one in payment.settlements}  # fmt: skip
        for payment in fold.order.payments:
            for one in payment.settlements:
                key = (payment.payment_id, one.settle_id)
                if stored.pop(key, None) != one:
                    self.settlements.append((*key, one.value, one.refunded, one.refunding, one.automatic))
        self.removed_settlements += stored.keys()

    def _add_waiting(self, order_id: str, waiting: Waiting) -> None:
        self.unparked += waiting.ended
        for one in waiting.parked:
            record, expires_at = one.record, moment_or_none(one.expires_at_ms)
            if one.row_id is None:
                self.parked.append((
                    order_id, one.waits_for, one.subject, *record.origin, record.key, record.value,
                    encode_headers(record.headers), moment(record.timestamp_ms), expires_at,
                ))  # fmt: skip
            elif one.moved:
                self.moved_parked.append((one.row_id, one.waits_for, expires_at))

    def _order_row(self, fold: OrderFold, awaits: list[str] | None) -> Row:
        order = fold.order
        wake_ms = _earliest(next_deadline_ms(order, self._expiry_lead_ms), fold.waiting.due_ms())
        has_facts = fold.facts > 0
        return (
            order.order_id, order.opened, order.merchant or None, order.phase, needs_attention(order),
            needs_authorization(order), awaits, order.version, fold.facts, fold.last_published_fact,
            fold.waiting.number, moment_or_none(wake_ms),
            encode(order) if has_facts else None, moment(order.updated_at_ms) if has_facts else None,
        )  # fmt: skip


def _sums(one: Payment) -> Row:
    """The columns of `payments` that may change, in the order of `update_payments` and `add_payments`."""
    return one.settled, one.settling, one.refunded, one.refunding, one.voided, one.voiding, one.lapsed


def _earliest(one_ms: int | None, other_ms: int | None) -> int | None:
    if one_ms is None or other_ms is None:
        return other_ms if one_ms is None else one_ms
    return min(one_ms, other_ms)
