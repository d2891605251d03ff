"""A connector's condition, learned from its answers: well, away (the breaker is open), or refusing all (R34, R36)."""

from typing import Literal

from worker import telemetry
from worker.connector.answers import Answer
from worker.connector.file import Connector


class Condition:
    """When the connector may be asked again, by how many at once, and which command asks first."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._failures = 0
        self.state: Literal["well", "away", "refusing"] = "well"
        self.not_before_ms = 0
        self.width: float = float("inf")  # how many at once; from 1 upwards after it was away or busy
        self.refused: str | None = None  # the command that was refused: it is the one that asks again
        self.probe: str | None = None  # the one command under way while the connector is not well

    def probing(self, command_id: str) -> None:
        """This command is sent to find out whether the connector is back."""
        self.probe = command_id

    def ended(self, command_id: str, answer: Answer, connector: Connector, now_ms: int, *, replied: bool) -> None:
        """Learns from an attempt. Whatever the connector replied, it is there: a 500 to a refund means "not yet"."""
        probed = self.probe == command_id
        if probed:
            self.probe = None
        if answer.fate == "stopped":
            self._refuses(command_id, answer, now_ms + round(connector.probe_seconds * 1000), probed=probed)
        elif self.state == "refusing" and not probed:
            pass  # it was sent before the refusal, and says nothing of what comes after
        elif replied:
            self._is_well()
            if answer.fate == "busy":
                hold = answer.hold_seconds or connector.retry_seconds[0]  # "in 0 seconds" would be asked in a circle
                self.not_before_ms, self.width = max(self.not_before_ms, now_ms + round(1000 * hold)), 1
        elif answer.fate in ("not_sent", "unknown"):
            self._is_away(answer, connector, now_ms)

    def unused(self, command_id: str) -> None:
        """The command was chosen as a probe and was not sent after all: another one will be."""
        if self.probe == command_id:
            self.probe = None
        if self.refused == command_id:
            self.refused = None

    def ask_now(self) -> None:
        """Whatever pause it was given is over: it may be asked at once."""
        self.not_before_ms = 0

    def calm(self) -> None:
        """Ends the alerts about it; the next answer of that kind raises them again."""
        telemetry.clear_alert("connector_stopped", self._name)
        telemetry.clear_alert("breaker_open", self._name)

    def _refuses(self, command_id: str, answer: Answer, ask_again_ms: int, *, probed: bool) -> None:
        telemetry.alert("connector_stopped", self._name, why=f"{answer.message} ({answer.code})")
        if self.state != "refusing":
            self.state, self.refused = "refusing", command_id
        elif not probed:
            return
        self.refused = self.refused or command_id
        self.not_before_ms = ask_again_ms

    def _is_away(self, answer: Answer, connector: Connector, now_ms: int) -> None:
        self._failures += 1
        if self.state == "refusing":
            self.not_before_ms = now_ms + round(connector.probe_seconds * 1000)
        elif self._failures >= connector.breaker_failures:
            self.state = "away"
            self.not_before_ms = now_ms + round(connector.breaker_seconds * 1000)
            telemetry.alert("breaker_open", self._name, why=answer.message)

    def _is_well(self) -> None:
        self._failures = 0
        if self.state == "well":
            self.width += 1
            return
        telemetry.log.info("connector is back", connector=self._name)
        self.calm()
        self.state, self.refused, self.not_before_ms, self.width = "well", None, 0, 1
