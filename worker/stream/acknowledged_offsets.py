"""Follows the offsets of acknowledged records; notices foreign writes between them and acknowledged records lost."""

from collections.abc import Mapping

from worker import telemetry
from worker.kafka.records import Place

RECORDS_LOST = "records_lost"


def report_lost_records(place: Place, first: int, end: int) -> None:
    """Alerts that Kafka lost acknowledged records, from offset `first` up to, but not including, `end`."""
    topic, partition = place
    telemetry.log.error("Kafka lost what it had acknowledged", topic=topic, partition=partition, first=first, end=end)
    telemetry.alert(RECORDS_LOST)


class AcknowledgedOffsets:
    """The offsets of one session. Those reached stay before foreign writes until `take_foreign_writes`."""

    def __init__(self) -> None:
        self._ends: dict[Place, int] = {}
        self._foreign_writes: set[Place] = set()
        self.reached: dict[Place, int] = {}
        """Kafka has everything before these offsets; they are not stored in the tables yet."""

    def expect(self, ends: Mapping[Place, int]) -> None:
        """The tables know all records before these offsets; our next records are expected there."""
        self._ends |= ends

    def record(self, place: Place, offset: int, number: int) -> None:
        """`number` of our records were acknowledged at this offset. Called in the partition's order."""
        expected = self._ends.get(place)
        if offset < 0:  # a repeated batch is acknowledged without its offset
            if expected is None:
                return
            offset = expected
        if expected is not None:
            self._ends[place] = offset + number
            if offset > expected:
                self._foreign_writes.add(place)
            elif offset < expected:
                report_lost_records(place, offset, expected)
        if place not in self._foreign_writes:
            self.reached[place] = max(self.reached.get(place, 0), offset + number)

    def stored(self, reached: Mapping[Place, int]) -> None:
        """These offsets are in the tables."""
        for place, offset in reached.items():
            if self.reached.get(place) == offset:
                del self.reached[place]

    @property
    def has_foreign_writes(self) -> bool:
        """Whether somebody else wrote between our records."""
        return bool(self._foreign_writes)

    def take_foreign_writes(self) -> set[Place]:
        """Returns where somebody else wrote, and forgets it: the caller verifies those partitions."""
        places, self._foreign_writes = self._foreign_writes, set()
        return places
