"""Which partitions have no leader in Kafka for one of their topics, and may therefore neither be read nor written."""

import time

from worker.kafka.log_inspector import LogInspector
from worker.settings import Settings
from worker.stream.control import Control
from worker.stream.ownership import Ownership

# Longer than brokers take to elect another leader.
LEADERLESS_SECONDS_MAX = 5.0
LEADERLESS_NAMED_MAX = 3


class Leaders:
    """A partition counts with all topics of its role: inputs, outputs, dead letters of the inputs."""

    def __init__(self, settings: Settings, inspector: LogInspector, ownership: Ownership, control: Control) -> None:
        self._settings = settings
        self._inspector = inspector
        self._ownership = ownership
        self._control = control

    def missing(self) -> set[int]:
        """Partitions without a leader at this moment, whoever owns them."""
        return {partition for _, partition in self._inspector.leaderless}

    def lost(self) -> set[int]:
        """Partitions that were taken, and have had no leader for longer than an election takes."""
        before = time.monotonic() - LEADERLESS_SECONDS_MAX
        lost = {partition for (_, partition), since in self._inspector.leaderless.items() if since <= before}
        return lost & self._control.epochs.keys()

    def problem(self) -> str | None:
        """A sentence about our partitions that cannot be taken, or that have lost their leader."""
        waiting = self.lost() | (self.missing() & self._ownership.claimed.keys())
        if not waiting:
            return None
        places = [f"{self._settings.topic(topic)} partition {partition}"
                  for topic, partition in sorted(self._inspector.leaderless) if partition in waiting]  # fmt: skip
        named, more = ", ".join(places[:LEADERLESS_NAMED_MAX]), len(places) - LEADERLESS_NAMED_MAX
        others = f" and {more} more" if more > 0 else ""
        numbers = f"partition{'s' * (len(waiting) > 1)} {', '.join(map(str, sorted(waiting)))}"
        return f"Kafka has no leader for {named}{others}: all records of {numbers} wait"
