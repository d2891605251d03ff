"""One connector's lane: how much may be under way, and when to leave it alone (R34, R36)."""

import heapq
import itertools
from collections.abc import Iterator

from worker import telemetry
from worker.connector.answers import Answer
from worker.connector.file import Connector
from worker.delivery.job import Job, Line


class Lane:
    """Due lines by time, behind the connector's limits, breaker and stop."""

    def __init__(self, name: str, connector: Connector | None, share: float) -> None:
        self.name = name
        self.connector = connector
        self.in_flight = 0
        self._heap: list[tuple[int, int, Line]] = []
        self._count = itertools.count()
        self._failures = 0
        self._open_until_ms = 0
        self._hold_until_ms = 0
        self._next_token_ms = 0.0
        self._window = 1_000_000  # grows again after the breaker was open
        self._probing = False
        self.stopped = False
        self.set_share(share)

    def set_share(self, share: float) -> None:
        """This process's part of the deployment's limits."""
        if self.connector is not None:
            self._limit = max(1, round(self.connector.max_in_flight * share))
            rate = self.connector.max_per_second
            self._gap_ms = 1000 / (rate * share) if rate and share else 0.0

    def push(self, line: Line, due_ms: int) -> None:
        """The line's first job is due then."""
        heapq.heappush(self._heap, (due_ms, next(self._count), line))

    def ready(self, now_ms: int) -> Iterator[Job]:
        """Jobs that may begin now, each counted as in flight."""
        while self._heap and self._allowed(now_ms):
            due_ms, _, line = self._heap[0]
            if due_ms > now_ms:
                return
            heapq.heappop(self._heap)
            job = line.sendable()
            if job is None or job.due_ms > now_ms:
                continue  # its turn has not come; whoever changes that pushes it again
            self.in_flight += 1
            self._next_token_ms = max(self._next_token_ms, now_ms) + self._gap_ms
            self._probing = self.stopped or self._half_open(now_ms)
            yield job

    def next_due_ms(self) -> int | None:
        """When `ready` may have something; None while only an answer can change that."""
        if not self._heap or self.connector is None or self.in_flight >= self._capacity() or self._probing:
            return None
        if self.in_flight and (self.stopped or self._open_until_ms):
            return None  # one probe at a time, and only once everything else has its answer
        return max(self._heap[0][0], self._hold_until_ms, self._open_until_ms, int(self._next_token_ms))

    def ended(self, answer: Answer, now_ms: int) -> None:
        """Learns from an answer how the connector is."""
        self.in_flight -= 1
        self._probing = False
        assert self.connector is not None
        if answer.fate == "stopped":
            if not self.stopped:
                telemetry.alert("connector_stopped", self.name, reason=answer.message)
            self.stopped = True
            self._hold_until_ms = now_ms + round(self.connector.probe_seconds * 1000)
            return
        if answer.fate == "not_sent":
            self._failed(now_ms, answer)
            return
        if self.stopped or self._failures >= self.connector.breaker_failures:
            telemetry.log.info("connector is back", connector=self.name)
            self._window = 1
        self.stopped, self._failures, self._open_until_ms = False, 0, 0
        self._window = min(self._window * 2, 1_000_000)
        telemetry.clear_alert("connector_stopped", self.name)
        telemetry.clear_alert("breaker_open", self.name)
        if answer.fate == "busy":
            seconds = answer.hold_seconds
            self._hold_until_ms = now_ms + round(
                1000 * (self.connector.retry_seconds[0] if seconds is None else seconds)
            )

    def unused(self) -> None:
        """A job that was released and not sent after all."""
        self.in_flight -= 1
        self._probing = False

    def try_again(self) -> None:
        """SIGHUP: a stopped connector is asked once more, now."""
        if self.stopped:
            self._hold_until_ms = 0

    def _failed(self, now_ms: int, answer: Answer) -> None:
        assert self.connector is not None
        self._failures += 1
        if self._failures >= self.connector.breaker_failures:
            self._open_until_ms = now_ms + round(self.connector.breaker_seconds * 1000)
            telemetry.alert("breaker_open", self.name, why=answer.message)

    def _half_open(self, now_ms: int) -> bool:
        return bool(self._open_until_ms) and self._open_until_ms <= now_ms

    def _capacity(self) -> int:
        return min(self._limit, self._window)

    def _allowed(self, now_ms: int) -> bool:
        if self.connector is None or now_ms < max(self._hold_until_ms, self._open_until_ms, self._next_token_ms):
            return False
        if self.stopped or self._half_open(now_ms):
            return self.in_flight == 0 and not self._probing
        return self.in_flight < self._capacity()
