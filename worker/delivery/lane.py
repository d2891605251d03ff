"""The commands that are due for one connector, held back by its limits and its condition."""

from functools import cached_property

from prometheus_client import Gauge

from worker import metrics, telemetry
from worker.connector.answers import Answer
from worker.connector.file import Connector
from worker.delivery.condition import Condition
from worker.delivery.window import Window

# Cycles come too seldom to send one command each: how far behind its rate a lane may fall and still catch up.
CATCH_UP_MS = 50
# They do not for gaps of this length, which a connector that was busy may count exactly: there, no delay is caught up.
EVEN_GAP_MS = 10
REMEDY = "its commands wait: name it in the connectors file, then send SIGHUP to the workers"


class Lane:
    """One connector's lane: no other lane ever waits for it."""

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
        """Created with the first send, so that only names in the connectors file become labels."""
        return metrics.commands_in_flight.labels(connector=self.name)

    def set_connector(self, connector: Connector | None) -> None:
        """Sets the connector as the file has it now; without one, nothing is sent."""
        if connector != self.connector:
            self.ask_now()
        self.connector = connector

    def update_alerts(self) -> None:
        """A connector that the file no longer names has one alert, and only while commands wait for it."""
        if self.connector is None:
            self.condition.clear_alerts()
        if self.connector is None and len(self.window):
            telemetry.alert("unknown_connector", self.name, first_command=self.window.first_id(), remedy=REMEDY)
        else:
            telemetry.clear_alert("unknown_connector", self.name)

    def take_ready(self, now_ms: int, limit: int) -> list[str]:
        """Takes the commands that may be sent now, and counts each as in flight from here on."""
        ready: dict[str, None] = {}
        while len(ready) < limit and (command_id := self._next(now_ms)) is not None:
            if command_id not in ready:
                ready[command_id] = None
                self.in_flight += 1
                self._gauge.inc()
                gap_ms = self._gap_ms()
                behind_ms = 0 if self.condition.was_busy and gap_ms >= EVEN_GAP_MS else CATCH_UP_MS
                self._next_token_ms = max(self._next_token_ms, now_ms - behind_ms) + gap_ms
        return list(ready)

    def next_due_ms(self) -> int | None:
        """When a cycle may find something to send; None: not before an answer arrives or the file changes."""
        if self.connector is None:
            return None
        if self.window.lacking():
            return 0
        condition, first_ms = self.condition, self.window.first_ms()
        if condition.state != "healthy":
            if condition.probe is not None:
                return None
            first_ms = 0 if condition.refused else first_ms
        elif not self._has_room():
            return None
        return None if first_ms is None else max(first_ms, condition.not_before_ms, int(self._next_token_ms))

    def is_behind(self, now_ms: int) -> bool:
        """Whether commands are due that its limits or its condition may hold back."""
        first_ms = self.window.first_ms()
        return first_ms is not None and first_ms <= now_ms

    def ended(
        self, command_id: str, answer: Answer, connector: Connector, now_ms: int, took_ms: float, *, replied: bool
    ) -> None:
        """Frees the attempt's slot, and learns the connector's condition from its answer."""
        self.in_flight -= 1
        self._gauge.dec()
        self.condition.ended(command_id, answer, connector, now_ms, took_ms, replied=replied)

    def ask_now(self) -> None:
        """Ends pause and rate limit, which an older file or clock has set: better to ask too early, once."""
        self.condition.ask_now()
        self._next_token_ms = 0.0

    def give_back(self, command_id: str) -> None:
        """Frees the slot of a command that was taken and is not sent after all."""
        self.in_flight -= 1
        self._gauge.dec()
        self.condition.not_sent(command_id)

    def _next(self, now_ms: int) -> str | None:
        condition = self.condition
        if self.connector is None or now_ms < max(condition.not_before_ms, self._next_token_ms):
            return None
        if condition.state == "healthy":
            return self.window.pop(now_ms) if self._has_room() else None
        if condition.probe is not None:
            return None
        probe = condition.refused or self.window.pop(now_ms)
        if probe is not None:
            condition.begin_probe(probe)
        return probe

    def _has_room(self) -> bool:
        assert self.connector is not None
        return self.in_flight + 1 <= max(1, min(self.connector.max_in_flight * self.share, self.condition.width))

    def _gap_ms(self) -> float:
        assert self.connector is not None
        rate = self.connector.max_per_second
        allowed_ms = 1000 / (rate * self.share) if rate and self.share else 0.0
        return max(allowed_ms, self.condition.gap_ms)
