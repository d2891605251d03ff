"""The facts of one cycle, decided one after another; what must be written is gathered in each order's fold."""

import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import Literal

from worker import telemetry
from worker.domain.decide import next_deadline_ms
from worker.domain.decision import Decision
from worker.domain.facts import (
    ConnectorsNamed,
    Fact,
    OrderAuthorized,
    OutcomeReported,
    PaymentAutoSettled,
    TimePassed,
    authorizations,
)
from worker.domain.order import automatic_key
from worker.kafka.dead_letters import ReasonCode
from worker.kafka.envelope import log_fields
from worker.kafka.records import Origin, Place, Record
from worker.ledger.connectors import Connectors
from worker.ledger.order_fold import OrderFold, OrderFullError
from worker.ledger.reading import Readable
from worker.ledger.waiting import Parked, WaitsFor
from worker.settings import Settings
from worker.stream.cycle import PUBLISHED_BYTES_MAX, Cycle
from worker.stream.time_slice import TimeSlice

# How many facts that waited for one order are tried in one cycle; fewer if each of them has much to tell.
TRIED_MAX = 1_000
UNDECIDABLE = "undecidable_fact"
ORDER_FULL = "order_full"

RecordFate = Literal["applied", "duplicate", "parked", "dead_lettered"]


class Decider:
    """One cycle's decisions. Nothing here writes to the database or outlives the cycle."""

    def __init__(
        self, cycle: Cycle, connectors: Connectors, settings: Settings, owners: Mapping[str, str],
        returned: Mapping[Origin, int],
    ) -> None:  # fmt: skip
        self._cycle = cycle
        self.returned = returned
        """Where the records stand that a person asked to judge again (R8), and the dead letter that each was."""
        self._connectors = connectors
        self._settings = settings
        self._time_slice = TimeSlice(cycle.connection)
        self._owners = dict(owners)
        """Payment → its order, of all payments that a fact of this cycle might add."""
        self.duplicates: Counter[Place] = Counter()
        """Repeats per topic and partition, those among facts that had waited included."""

    async def decide_due(self, fold: OrderFold, chain: int) -> None:
        """Decides facts that come from no record, before any that do: time has passed, connectors were named.

        `chain` is that of the partition whose record names the order: the order's own may belong to another worker.
        """
        order_id = fold.order.order_id
        deadline = next_deadline_ms(fold.order, self._settings.expiry_lead_ms)
        if deadline is not None and deadline <= self._cycle.now_ms:
            await self._decide_and_unpark(fold, None, Readable(TimePassed(order_id=order_id), None), chain)
        if self._connectors.unnamed(fold.order) == []:
            await self._decide_and_unpark(fold, None, Readable(ConnectorsNamed(order_id=order_id), None), chain)
        if any(_can_be_tried(fold, parked) for parked in fold.waiting.parked):
            # Too many waited for one cycle, or a recovery opened the order, which decides nothing.
            await self._unpark(fold, chain, untried=True)

    async def decide_record(self, fold: OrderFold, record: Record, one: Readable) -> RecordFate:
        """Decides one record, and returns its fate."""
        await self._time_slice.yield_if_over()
        if fold.waiting.unfinished:  # others wait before it
            fold.waiting.add(Parked(record, "order", None, known=one))
            return "parked"
        # A chain is written by the owner of its partition alone: of the record that is read, not of one it unparks.
        fate = await self._decide_and_unpark(fold, record, one, record.partition)
        if fate == "parked":
            waits_for, expires_ms = self._parking(fold, None)
            fold.waiting.add(Parked(record, waits_for, expires_ms, known=one))
        return fate

    def expire_parked(self, fold: OrderFold) -> None:
        """Turns what waited too long into dead letters (R29)."""
        for parked in fold.waiting.overdue(self._cycle.now_ms):
            if _can_be_tried(fold, parked):
                continue
            fold.waiting.drop(parked)
            message = f"The {parked.waits_for} it names did not come in time (R29)"
            self._dead_letter(fold, parked.record, "order_unknown", message)

    async def _decide_and_unpark(self, fold: OrderFold, record: Record | None, one: Readable, chain: int) -> RecordFate:
        """Decides one fact, then the parked facts that may be tried because of it."""
        fate, unparks = self._decide_safely(fold, record, one, chain)
        if unparks:
            await self._unpark(fold, chain)
        return fate

    def _decide_safely(
        self, fold: OrderFold, record: Record | None, one: Readable, chain: int
    ) -> tuple[RecordFate, bool]:
        """Decides one fact; returns also whether parked ones may be tried now."""
        try:
            decision = self._decide_with_terms(fold, record, one, chain)
        except OrderFullError as full:
            return self._report_full(fold, record, full), False
        except Exception as problem:  # noqa: BLE001 - a fact that breaks a rule of ours must not stop its partition
            return self._report_undecidable(fold, record, problem), False
        if decision.fate == "applied":
            for added in authorizations(one.fact):
                self._owners[added.payment_id] = one.fact.order_id
        if decision.fate == "duplicate" and record is not None:
            self.duplicates[record.place] += 1
        self._update_records(fold, record, one.fact, decision)
        if decision.refusal is not None or decision.fate == "refused":
            return "dead_lettered", decision.unparks
        return decision.fate, decision.unparks

    def _decide_with_terms(self, fold: OrderFold, record: Record | None, read: Readable, chain: int) -> Decision:
        fact = read.fact
        foreign = tuple(
            one.payment_id for one in authorizations(fact)
            if self._owners.get(one.payment_id, fact.order_id) != fact.order_id
        )  # fmt: skip
        source = record.origin if record else None
        terms = self._connectors.terms(fold.order, fact, self._cycle.now_ms, foreign, source in self.returned)
        bounded = record is not None and not isinstance(fact, OutcomeReported)  # whose money has moved already
        return fold.apply(fact, terms, source, chain, read.traceparent, bounded=bounded)

    def _update_records(self, fold: OrderFold, record: Record | None, fact: Fact, decision: Decision) -> None:
        """Does what a decision says about records: this one is refused or kept, one that was kept is judged."""
        if decision.refusal is not None and record is not None:
            self._dead_letter(fold, record, decision.refusal.code, decision.refusal.reason)
        if decision.keeps_record and record is not None and isinstance(fact, PaymentAutoSettled):
            fold.waiting.hold(record, automatic_key(fact.payment_id, fact.settle_id))
        for payment_id, settle_id, suspect in decision.judged:
            for parked in fold.waiting.held(automatic_key(payment_id, settle_id)):
                fold.waiting.drop(parked)
                if suspect:
                    reason = f"Automatic settlement {settle_id} does not fit payment {payment_id} (R27)"
                    self._dead_letter(fold, parked.record, "suspect", reason)

    async def _unpark(self, fold: OrderFold, chain: int, *, untried: bool = False) -> None:
        """Tries what waits, in the order in which it was stored; what must go on waiting keeps its place (R29).

        One of them may add what others wait for: those are tried again. `untried`: begins only with those that could
        have been tried before and were not. What is too much for one cycle is left to the next.
        """
        taken = fold.waiting.take_out()
        line = deque(one for one in taken if not untried or _can_be_tried(fold, one))
        resting = [one for one in taken if untried and not _can_be_tried(fold, one)]
        for _ in range(TRIED_MAX):
            if not line or fold.command_bytes > PUBLISHED_BYTES_MAX:
                break
            await self._time_slice.yield_if_over()
            parked = line.popleft()
            one = parked.read
            if not isinstance(one, Readable):  # a newer program reads more strictly than the one that stored it
                fold.waiting.forget(parked)
                self._dead_letter(fold, parked.record, one.reason, one.message)
                continue
            fate, unparks = self._decide_safely(fold, parked.record, one, chain)
            if fate == "parked":
                fold.waiting.keep_waiting(parked, *self._parking(fold, parked.expires_at_ms))
                resting.append(parked)
                continue
            fold.waiting.forget(parked)
            if unparks and resting:
                line, resting = deque(sorted([*resting, *line], key=_stored)), []
        for parked in line:
            fold.waiting.keep_waiting(parked, "order", parked.expires_at_ms)
        fold.waiting.put_back(resting, [*line])

    def _parking(self, fold: OrderFold, expires_ms: int | None) -> tuple[WaitsFor, int | None]:
        """What a fact waits for, and until when; only waiting for an unknown order or payment ends."""
        order = fold.order
        if order.opened and order.awaits_connectors:
            return "connectors", None
        if expires_ms is None:
            expires_ms = self._cycle.now_ms + self._settings.parking_ms
        return "payment" if order.opened else "order", expires_ms

    def _report_undecidable(self, fold: OrderFold, record: Record | None, problem: Exception) -> RecordFate:
        """A fact on which our rules fail: the order stays as it was; a decision has no effect before it is whole."""
        order_id = fold.order.order_id
        telemetry.alert(UNDECIDABLE, order_id=order_id)
        place = log_fields(record) if record is not None else {}
        telemetry.log.error("a fact could not be decided", order_id=order_id, **place, exc_info=problem)
        if record is not None:
            self._dead_letter(fold, record, "internal", f"{type(problem).__name__}: {problem}")
        return "dead_lettered"

    def _report_full(self, fold: OrderFold, record: Record | None, full: OrderFullError) -> RecordFate:
        """An order that grows without end must not stop its partition: its state would soon not fit into a record."""
        telemetry.alert(ORDER_FULL, order_id=fold.order.order_id)
        if record is not None:
            self._dead_letter(fold, record, "too_large", str(full))
        return "dead_lettered"

    def _dead_letter(self, fold: OrderFold, record: Record, reason: ReasonCode, message: str) -> None:
        order = fold.order
        self._cycle.dead_letter(record, reason, message, order_id=order.order_id, merchant=order.merchant or None)


def _can_be_tried(fold: OrderFold, parked: Parked) -> bool:
    """Whether what it waited for is there, so that it only has to be tried."""
    if parked.waits_for == "connectors":
        return not fold.order.awaits_connectors
    return parked.waits_for == "order" and fold.order.opened


def _stored(parked: Parked) -> float:
    """The order in which facts were stored; one that is not stored yet comes last."""
    return math.inf if parked.row_id is None else parked.row_id


def opened_by(facts: Iterable[Fact]) -> set[str]:
    """The orders that these facts may open."""
    return {fact.order_id for fact in facts if isinstance(fact, OrderAuthorized)}
