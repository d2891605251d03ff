"""A connector's condition, learned from its answers: healthy, away (breaker open), or refusing all (R34, R36)."""

import math
from typing import Literal

from worker import telemetry
from worker.connector.answers import Answer, AttemptFate
from worker.connector.file import Connector

DEFINITE_FATES: tuple[AttemptFate, ...] = ("succeeded", "declined", "manual", "suspect")
# An alert begins when so many attempts in a row, or all attempts for so long, brought no definite answer.
INDEFINITE_ATTEMPTS = 10
INDEFINITE_MS = 5 * 60_000
# Single failures among many successes are logged at most this often.
WARNING_PAUSE_MS = 60_000
# Of the width that was too much for a busy connector, how much it is soon given again. After that it widens by one only
# with so many replies: each time that it is too much costs the whole pause that it asks for.
BEARABLE = 0.5
REPLIES_FOR_ONE_MORE = 100
# The largest gap that is learned: a connector that takes less than one command a second says so by its pauses.
GAP_MS_MAX = 1_000
# Of the smoothed time of an answer, the part that the newest one is; as in TCP.
NEWEST = 1 / 8
NO_DEFINITE_ANSWER = "no_definite_answer"


class Condition:
    """When the connector may be asked again, by how many commands at once, and by which one first."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._failures = 0
        self._indefinite = 0  # attempts since the last definite answer, refusals of everybody aside
        self._indefinite_since_ms = 0
        self._warned_ms = -WARNING_PAUSE_MS
        self.state: Literal["healthy", "away", "refusing"] = "healthy"
        self.not_before_ms = 0
        # Commands in flight at most; grows from 1 after it was away or busy. Below 1: one command, then a gap.
        self.width = math.inf
        self.bearable = math.inf  # up to this, the width grows by 1 with each reply
        self._answer_ms = 0.0  # how long an answer takes, smoothed
        self.refused: str | None = None  # the command that was refused is sent again first
        self.probe: str | None = None  # the only command in flight while the connector is not healthy

    @property
    def was_busy(self) -> bool:
        """Whether it was busy again after a first pause, so that it is known how much is too much for it."""
        return self.bearable < math.inf

    @property
    def gap_ms(self) -> float:
        """How far apart commands are sent, so that about as many are in flight as the width says."""
        return min(self._answer_ms / self.width, GAP_MS_MAX)

    def begin_probe(self, command_id: str) -> None:
        """This command alone is sent, to find out whether the connector is back."""
        self.probe = command_id

    def ended(
        self, command_id: str, answer: Answer, connector: Connector, now_ms: int, took_ms: float, *, replied: bool
    ) -> None:
        """Learns from an answer. Any reply shows that the connector is there: a 500 to a refund means "not yet"."""
        probed = self.probe == command_id
        if probed:
            self.probe = None
        if answer.fate == "stopped":
            self._note_refusal(command_id, answer, now_ms + round(connector.probe_seconds * 1000), probed=probed)
        elif self.state == "refusing" and not probed:
            pass  # it was sent before the refusal, so it does not show that the refusal is over
        elif replied:
            self._mark_healthy()
            if answer.fate == "busy":
                hold = answer.hold_seconds or connector.retry_seconds[0]  # 0 seconds would retry in a busy loop
                self._note_busy(now_ms + round(1000 * hold))
            else:
                self._answer_ms += (took_ms - self._answer_ms) * (NEWEST if self._answer_ms else 1)
                if now_ms >= self.not_before_ms:  # else it was sent before the pause, at the width that was too much
                    self._widen()
        elif answer.fate in ("not_sent", "unknown"):
            self._note_failure(answer, connector, now_ms)
        if answer.fate in DEFINITE_FATES:
            self._indefinite = 0
            telemetry.clear_alert(NO_DEFINITE_ANSWER, self._name)
        elif answer.fate != "stopped":
            self._note_indefinite(answer, now_ms)

    def not_sent(self, command_id: str) -> None:
        """If this command was to be the probe, another one will be."""
        if self.probe == command_id:
            self.probe = None
        if self.refused == command_id:
            self.refused = None

    def ask_now(self) -> None:
        """Ends the pause: the connector may be asked at once, and may bear more than before."""
        self.not_before_ms, self.bearable = 0, math.inf

    def clear_alerts(self) -> None:
        """Ends this connector's alerts; the next bad answer raises them again."""
        for code in ("connector_stopped", "breaker_open", NO_DEFINITE_ANSWER):
            telemetry.clear_alert(code, self._name)
        self._indefinite = 0

    def _note_refusal(self, command_id: str, answer: Answer, ask_again_ms: int, *, probed: bool) -> None:
        telemetry.alert("connector_stopped", self._name, why=f"{answer.message} ({answer.code})")
        if self.state != "refusing":
            self.state, self.refused = "refusing", command_id
        elif not probed:
            return
        self.refused = self.refused or command_id
        self.not_before_ms = ask_again_ms

    def _note_busy(self, ask_again_ms: int) -> None:
        """Pauses, and halves the width, unless no other reply has widened it since the last pause.

        So of several commands that were too many together only one counts, and a long outage counts once.
        """
        if self.width > min(1, self.bearable):
            self.bearable = max(self.width * BEARABLE, min(1, self._answer_ms / GAP_MS_MAX))
        self.not_before_ms, self.width = max(self.not_before_ms, ask_again_ms), min(1, self.bearable)

    def _note_failure(self, answer: Answer, connector: Connector, now_ms: int) -> None:
        self._failures += 1
        if self.state == "refusing":
            self.not_before_ms = now_ms + round(connector.probe_seconds * 1000)
        elif self._failures >= connector.breaker_failures:
            self.state = "away"
            self.not_before_ms = now_ms + round(connector.breaker_seconds * 1000)
            telemetry.alert("breaker_open", self._name, why=answer.message)

    def _note_indefinite(self, answer: Answer, now_ms: int) -> None:
        """Logs the first such answer of an outage, and raises the alert where no other one explains it."""
        why = f"{answer.message} ({answer.code})"
        if self._indefinite == 0:
            self._indefinite_since_ms = now_ms
            if not 0 <= now_ms - self._warned_ms < WARNING_PAUSE_MS:
                self._warned_ms = now_ms
                telemetry.log.warning(
                    "an attempt brought no definite answer; it will be repeated", connector=self._name, why=why
                )
        self._indefinite += 1
        lasts = self._indefinite >= INDEFINITE_ATTEMPTS or now_ms - self._indefinite_since_ms >= INDEFINITE_MS
        if lasts and self.state == "healthy":
            telemetry.alert(NO_DEFINITE_ANSWER, self._name, why=why)

    def _mark_healthy(self) -> None:
        self._failures = 0
        if self.state == "healthy":
            return
        telemetry.log.info("connector is back", connector=self._name)
        telemetry.clear_alert("connector_stopped", self._name)
        telemetry.clear_alert("breaker_open", self._name)
        self.state, self.refused, self.not_before_ms, self.width = "healthy", None, 0, 0

    def _widen(self) -> None:
        """Makes room for one more command at once, or for a small part of one."""
        part = min(1, self.width) / REPLIES_FOR_ONE_MORE
        self.width = max(self.width + part, min(self.width + 1, self.bearable))
