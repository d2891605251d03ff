"""Which partitions Kafka cannot serve: one of their topics has no leader, or too few replicas in sync to be written."""

import time

from worker.kafka.log_inspector import LogInspector
from worker.kafka.records import Place
from worker.settings import Settings
from worker.stream.control import Control
from worker.stream.ownership import Ownership

# Longer than brokers take to elect another leader.
UNAVAILABLE_SECONDS_MAX = 5.0
UNAVAILABLE_NAMED_MAX = 3


class Availability:
    """A partition counts with all topics of its role: inputs, outputs, dead letters of the inputs."""

    def __init__(self, settings: Settings, inspector: LogInspector, ownership: Ownership, control: Control) -> None:
        self._settings = settings
        self._inspector = inspector
        self._ownership = ownership
        self._control = control

    def has(self, place: Place) -> bool:
        """Whether Kafka serves one topic's partition at this moment."""
        return place not in self._inspector.unavailable

    def missing(self) -> set[int]:
        """Partitions that Kafka cannot serve at this moment, whoever owns them."""
        return {partition for _, partition in self._inspector.unavailable}

    def lost(self) -> set[int]:
        """Partitions that were taken, and that Kafka has not served for longer than an election takes."""
        before = time.monotonic() - UNAVAILABLE_SECONDS_MAX
        lost = {partition for (_, partition), since in self._inspector.unavailable.items() if since <= before}
        return lost & self._control.epochs.keys()

    def problem(self) -> str | None:
        """A sentence about our partitions that cannot be taken, or that Kafka has ceased to serve."""
        waiting = self.lost() | (self.missing() & self._ownership.claimed.keys())
        if not waiting:
            return None
        places = [f"{self._settings.topic(topic)} partition {partition}"
                  for topic, partition in sorted(self._inspector.unavailable) if partition in waiting]  # fmt: skip
        named, more = ", ".join(places[:UNAVAILABLE_NAMED_MAX]), len(places) - UNAVAILABLE_NAMED_MAX
        others = f" and {more} more" if more > 0 else ""
        numbers = f"partition{'s' * (len(waiting) > 1)} {', '.join(map(str, sorted(waiting)))}"
        return f"Kafka has no leader, or too few replicas in sync, for {named}{others}: all records of {numbers} wait"
