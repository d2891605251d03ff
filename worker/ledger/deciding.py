"""Decides the facts of one cycle one after another; each order's fold gathers what has to be written."""

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

# How many parked facts of one order are tried in one cycle; fewer if each of them has much to publish.
TRIED_MAX = 1_000
UNDECIDABLE = "undecidable_fact"
ORDER_FULL = "order_full"

RecordFate = Literal["applied", "duplicate", "parked", "dead_lettered"]


class Decider:
    """Makes one cycle's decisions. It writes nothing to the database, and does not outlive the cycle."""

    def __init__(
        self, cycle: Cycle, connectors: Connectors, settings: Settings, owners: Mapping[str, str],
        returned: Mapping[Origin, int],
    ) -> None:  # fmt: skip
        self._cycle = cycle
        self.returned = returned
        """Records that a person asked to judge again (R8) → the dead letter that each of them replays."""
        self._connectors = connectors
        self._settings = settings
        self._time_slice = TimeSlice(cycle.connection)
        self._owners = dict(owners)
        """Payment → its order, of all payments that a fact of this cycle might add."""
        self.duplicates: Counter[Place] = Counter()
        """Duplicates per topic and partition, parked facts included."""
        self.undecidable: set[str] = set()
        """Orders for which our code failed on a fact that came from no record."""

    async def decide_due(self, fold: OrderFold) -> None:
        """Decides the facts that come from no record, before those that do: time has passed, connectors were named."""
        order_id = fold.order.order_id
        deadline = next_deadline_ms(fold.order, self._settings.expiry_lead_ms)
        if deadline is not None and deadline <= self._cycle.now_ms:
            await self._decide_and_unpark(fold, None, Readable(TimePassed(order_id=order_id), None))
        if self._connectors.unnamed(fold.order) == []:
            await self._decide_and_unpark(fold, None, Readable(ConnectorsNamed(order_id=order_id), None))
        if any(_can_be_tried(fold, parked) for parked in fold.waiting.parked):
            # Too many were parked for one cycle, or a recovery opened the order without deciding them.
            await self._unpark(fold, only_untried=True)

    async def decide_record(self, fold: OrderFold, record: Record, read: Readable) -> RecordFate:
        """Decides one record and returns its fate."""
        await self._time_slice.yield_if_over()
        if fold.waiting.unfinished:  # others are before it in the line
            fold.waiting.add(Parked(record, "order", None, known=read))
            return "parked"
        fate = await self._decide_and_unpark(fold, record, read)
        if fate == "parked":
            waits_for, expires_ms = self._parking(fold, None)
            fold.waiting.add(Parked(record, waits_for, expires_ms, known=read))
        return fate

    def expire_parked(self, fold: OrderFold) -> None:
        """Turns parked facts that waited too long into dead letters (R29)."""
        for parked in fold.waiting.overdue(self._cycle.now_ms):
            if _can_be_tried(fold, parked):
                continue
            fold.waiting.drop(parked)
            message = f"The {parked.waits_for} it names did not come in time (R29)"
            self._dead_letter(fold, parked.record, "order_unknown", message)

    async def _decide_and_unpark(self, fold: OrderFold, record: Record | None, read: Readable) -> RecordFate:
        """Decides one fact, then the parked facts that it lets go on."""
        fate, unparks = self._decide_safely(fold, record, read)
        if unparks:
            await self._unpark(fold)
        return fate

    def _decide_safely(self, fold: OrderFold, record: Record | None, read: Readable) -> tuple[RecordFate, bool]:
        """Decides one fact, or reports that it failed; returns its fate, and whether parked ones may be tried now."""
        try:
            decision = self._decide_with_terms(fold, record, read)
        except OrderFullError as full:
            return self._report_full(fold, record, full), False
        except Exception as problem:  # noqa: BLE001 - a fact on which our code fails must not stop its partition
            return self._report_undecidable(fold, record, problem), False
        if decision.fate == "applied":
            for added in authorizations(read.fact):
                self._owners[added.payment_id] = read.fact.order_id
        if decision.fate == "duplicate" and record is not None:
            self.duplicates[record.place] += 1
        self._update_records(fold, record, read.fact, decision)
        if decision.refusal is not None or decision.fate == "refused":
            return "dead_lettered", decision.unparks
        return decision.fate, decision.unparks

    def _decide_with_terms(self, fold: OrderFold, record: Record | None, read: Readable) -> Decision:
        fact = read.fact
        foreign = tuple(
            one.payment_id for one in authorizations(fact)
            if self._owners.get(one.payment_id, fact.order_id) != fact.order_id
        )  # fmt: skip
        source = record.origin if record else None
        terms = self._connectors.terms(fold.order, fact, self._cycle.now_ms, foreign, source in self.returned)
        bounded = record is not None and not isinstance(fact, OutcomeReported)  # whose money has moved already
        return fold.apply(fact, terms, source, read.traceparent, items=read.items, bounded=bounded)

    def _update_records(self, fold: OrderFold, record: Record | None, fact: Fact, decision: Decision) -> None:
        """Carries out what a decision means for records: this one is refused or held, held ones are judged."""
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

    async def _unpark(self, fold: OrderFold, *, only_untried: bool = False) -> None:
        """Tries the parked facts in the order in which they were stored; those that stay parked keep their place (R29).

        A fact may add what others wait for: those are tried again. `only_untried`: starts only with those that could
        have been tried before and were not. What is too much for one cycle is left to the next.
        """
        taken = fold.waiting.take_out()
        line = deque(one for one in taken if not only_untried or _can_be_tried(fold, one))
        still_waiting = [one for one in taken if only_untried and not _can_be_tried(fold, one)]
        for _ in range(TRIED_MAX):
            if not line or fold.command_bytes > PUBLISHED_BYTES_MAX:
                break
            await self._time_slice.yield_if_over()
            parked = line.popleft()
            read = parked.read
            if not isinstance(read, Readable):  # a newer program reads more strictly than the one that stored it
                fold.waiting.forget(parked)
                self._dead_letter(fold, parked.record, read.reason, read.message)
                continue
            fate, unparks = self._decide_safely(fold, parked.record, read)
            if fate == "parked":
                fold.waiting.keep_waiting(parked, *self._parking(fold, parked.expires_at_ms))
                still_waiting.append(parked)
                continue
            fold.waiting.forget(parked)
            if unparks and still_waiting:
                line, still_waiting = deque(sorted([*still_waiting, *line], key=_by_row)), []
        for parked in line:
            fold.waiting.keep_waiting(parked, "order", parked.expires_at_ms)
        fold.waiting.put_back(still_waiting, [*line])

    def _parking(self, fold: OrderFold, expires_ms: int | None) -> tuple[WaitsFor, int | None]:
        """What a fact waits for, and until when; only waiting for an unknown order or payment expires."""
        order = fold.order
        if order.opened and order.awaits_connectors:
            return "connectors", None
        if expires_ms is None:
            expires_ms = self._cycle.now_ms + self._settings.parking_ms
        return "payment" if order.opened else "order", expires_ms

    def _report_undecidable(self, fold: OrderFold, record: Record | None, problem: Exception) -> RecordFate:
        """Reports a fact on which our code fails. The order is unchanged: a decision takes effect only as a whole."""
        order_id = fold.order.order_id
        telemetry.alert(UNDECIDABLE, order_id=order_id)
        place = log_fields(record) if record is not None else {}
        telemetry.log.error("a fact could not be decided", order_id=order_id, **place, exc_info=problem)
        if record is None:
            self.undecidable.add(order_id)
        else:
            self._dead_letter(fold, record, "internal", f"{type(problem).__name__}: {problem}")
        return "dead_lettered"

    def _report_full(self, fold: OrderFold, record: Record | None, full: OrderFullError) -> RecordFate:
        """Reports an order that is too large: its state would soon not fit into a record, and block the partition."""
        telemetry.alert(ORDER_FULL, order_id=fold.order.order_id)
        if record is not None:
            self._dead_letter(fold, record, "too_large", str(full))
        return "dead_lettered"

    def _dead_letter(self, fold: OrderFold, record: Record, reason: ReasonCode, message: str) -> None:
        order = fold.order
        self._cycle.dead_letter(record, reason, message, order_id=order.order_id, merchant=order.merchant or None)


def _can_be_tried(fold: OrderFold, parked: Parked) -> bool:
    """Whether what it waited for is there."""
    if parked.waits_for == "connectors":
        return not fold.order.awaits_connectors
    return parked.waits_for == "order" and fold.order.opened


def _by_row(parked: Parked) -> float:
    """Sorts facts by when they were stored; one that is not stored yet comes last."""
    return math.inf if parked.row_id is None else parked.row_id


def opened_by(facts: Iterable[Fact]) -> set[str]:
    """The orders that these facts may open."""
    return {fact.order_id for fact in facts if isinstance(fact, OrderAuthorized)}
