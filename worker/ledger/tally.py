"""What a cycle reports once it is committed: counts, spans and a warning."""

import time
from collections import Counter
from collections.abc import Iterable

from msgspec import Struct, field

from worker import metrics, telemetry
from worker.kafka.envelope import log_name
from worker.kafka.records import Place, Record
from worker.ledger.order_fold import OrderFold
from worker.ledger.reading import Readable
from worker.stream.cycle import Cycle
from worker.tracing import tracing

MISPLACED_WARNING_SECONDS = 60.0

ReadRecord = tuple[Record, Readable]


class Tally(Struct):
    """What one cycle gathers for its report."""

    fates: Counter[tuple[str, str]] = field(default_factory=Counter)
    consumed: Counter[Place] = field(default_factory=Counter)
    next_offsets: dict[Place, int] = field(default_factory=dict)
    misplaced: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    traced: list[ReadRecord] = field(default_factory=list)
    waiting_for_connectors: set[tuple[str, str]] = field(default_factory=set)
    """A connector that the file does not name, and an order that waits for it."""
    undecidable: set[str] = field(default_factory=set)
    """Orders that are due and cannot be decided: they stay due."""
    look_at_ms: int | None = None
    named_look_ms: int | None = None

    def count_events(self, folds: Iterable[OrderFold]) -> None:
        """Counts the events that were written."""
        self.events.update(event.type for fold in folds for event in fold.events)

    def report(self, cycle: Cycle) -> None:
        """Updates the metrics, and adds the spans of records that carry a trace."""
        for (topic, fate), number in self.fates.items():
            metrics.facts_total.labels(topic=topic, fate=fate).inc(number)
        for kind, number in self.events.items():
            metrics.events_total.labels(type=kind).inc(number)
        for topic, number in self.misplaced.items():
            metrics.misplaced_total.labels(topic=topic).inc(number)
        for record, one in self.traced:
            tracing.span(
                f"decide {one.fact.__struct_config__.tag}", one.traceparent, cycle.now_ms * 1_000_000, time.time_ns(),
                {"settlement.order_id": one.fact.order_id, "messaging.destination.name": record.topic,
                 "messaging.message.id": log_name(record)},
            )  # fmt: skip
        _measure_delay(cycle.records)


class MisplacedWarning:
    """Warns of records outside their order's partition, once a minute, with how many came since."""

    def __init__(self) -> None:
        self._unreported: Counter[str] = Counter()
        self._reported_at = -MISPLACED_WARNING_SECONDS

    def count(self, misplaced: Counter[str]) -> None:
        """Adds one cycle's misplaced records."""
        self._unreported.update(misplaced)
        if misplaced and time.monotonic() - self._reported_at >= MISPLACED_WARNING_SECONDS:
            self._reported_at = time.monotonic()
            telemetry.log.warning(
                "records arrive outside their order's partition; that is correct, only slower",
                topics=dict(self._unreported),
            )
            self._unreported.clear()


def _measure_delay(records: Iterable[Record]) -> None:
    """Observes the delay of each topic's oldest record only: every record would cost more than it is worth."""
    oldest: dict[str, int] = {}
    for record in records:
        oldest[record.topic] = min(oldest.get(record.topic, record.timestamp_ms), record.timestamp_ms)
    now_ms = time.time() * 1000
    for topic, at_ms in oldest.items():
        metrics.fact_delay_seconds.labels(topic=topic).observe(max(0.0, (now_ms - at_ms) / 1000))
