"""One connector's lane: what is due, behind the connector's limits and its condition."""

from functools import cached_property

from prometheus_client import Gauge

from worker import metrics, telemetry
from worker.connector.answers import Answer
from worker.connector.file import Connector
from worker.delivery.condition import Condition
from worker.delivery.window import Window

# Cycles come too seldom for one command each: how far behind its rate a lane may fall and still catch up.
CATCH_UP_MS = 50


class Lane:
    """Other lanes never wait for this one."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.window = Window()
        self.condition = Condition(name)
        self.connector: Connector | None = None
        self.in_flight = 0
        self.share = 1.0
        """This process's part of the deployment's limits."""
        self._next_token_ms = 0.0

    @cached_property
    def _gauge(self) -> Gauge:
        """Made when something is sent: only names that the file knows become labels."""
        return metrics.commands_in_flight.labels(connector=self.name)

    def set_connector(self, connector: Connector | None) -> None:
        """What the file says of it now; nothing goes out while it says nothing."""
        if connector != self.connector:
            self.ask_now()
        self.connector = connector

    def tell_who_waits(self) -> None:
        """Of a connector that was taken out of the file we say only that commands wait for it, as long as any do."""
        if self.connector is None:
            self.condition.calm()
        if self.connector is None and len(self.window):
            telemetry.alert("unknown_connector", self.name)
        else:
            telemetry.clear_alert("unknown_connector", self.name)

    def ready(self, now_ms: int, limit: int) -> list[str]:
        """Commands that may begin now, each counted as in flight."""
        found: dict[str, None] = {}
        while len(found) < limit and (command_id := self._next(now_ms)) is not None:
            if command_id not in found:
                found[command_id] = None
                self.in_flight += 1
                self._gauge.inc()
                self._next_token_ms = max(self._next_token_ms, now_ms - CATCH_UP_MS) + self._gap_ms()
        return list(found)

    def next_due_ms(self) -> int | None:
        """When a cycle may find something to do here; None while only an answer can change that."""
        if self.connector is None:
            return None
        if self.window.lacking():
            return 0
        condition, first_ms = self.condition, self.window.first_ms()
        if condition.state != "well":
            if condition.probe is not None:
                return None
            first_ms = 0 if condition.refused else first_ms
        elif self.in_flight >= self._capacity():
            return None
        return None if first_ms is None else max(first_ms, condition.not_before_ms, int(self._next_token_ms))

    def ended(self, command_id: str, answer: Answer, connector: Connector, now_ms: int, *, replied: bool) -> None:
        """An attempt is over."""
        self.in_flight -= 1
        self._gauge.dec()
        self.condition.ended(command_id, answer, connector, now_ms, replied=replied)

    def ask_now(self) -> None:
        """Pause and rate came from another clock, or another table: better to ask too early, once."""
        self.condition.ask_now()
        self._next_token_ms = 0.0

    def unused(self, command_id: str) -> None:
        """A command was let out and was not sent after all."""
        self.in_flight -= 1
        self._gauge.dec()
        self.condition.unused(command_id)

    def _next(self, now_ms: int) -> str | None:
        condition = self.condition
        if self.connector is None or now_ms < max(condition.not_before_ms, self._next_token_ms):
            return None
        if condition.state == "well":
            return self.window.pop(now_ms) if self.in_flight < self._capacity() else None
        if condition.probe is not None:
            return None
        found = condition.refused or self.window.pop(now_ms)
        if found is not None:
            condition.probing(found)
        return found

    def _capacity(self) -> float:
        assert self.connector is not None
        return min(max(1, int(self.connector.max_in_flight * self.share)), self.condition.width)

    def _gap_ms(self) -> float:
        assert self.connector is not None
        rate = self.connector.max_per_second
        return 1000 / (rate * self.share) if rate and self.share else 0.0
