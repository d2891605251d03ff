"""How far Kafka has what we write, where somebody else wrote between our records, and where some were lost."""

from collections.abc import Mapping

from worker import telemetry
from worker.kafka.records import Place

RECORDS_LOST = "records_lost"


def report_lost_records(place: Place, first: int, end: int) -> None:
    """Kafka no longer has what it had acknowledged there, from the first offset up to, and without, the end."""
    topic, partition = place
    telemetry.log.error("Kafka lost what it had acknowledged", topic=topic, partition=partition, first=first, end=end)
    telemetry.alert(RECORDS_LOST)


class AcknowledgedOffsets:
    """One session's; what it says has been reached stays before somebody else's records until `resume`."""

    def __init__(self) -> None:
        self._ends: dict[Place, int] = {}
        self._interrupted: set[Place] = set()
        self.reached: dict[Place, int] = {}
        """Everything before these offsets is with Kafka, and not noted yet."""

    def follow(self, ends: Mapping[Place, int]) -> None:
        """The tables know what stands before these offsets; what we write comes next, unless somebody else writes."""
        self._ends |= ends

    def acknowledged(self, place: Place, offset: int, number: int) -> None:
        """This many of our records begin at this offset; called in the order in which the partition has them."""
        expected = self._ends.get(place)
        if offset < 0:  # a repeated batch is acknowledged without its offset
            if expected is None:
                return
            offset = expected
        if expected is not None:
            self._ends[place] = offset + number
            if offset > expected:
                self._interrupted.add(place)
            elif offset < expected:
                report_lost_records(place, offset, expected)
        if place not in self._interrupted:
            self.reached[place] = max(self.reached.get(place, 0), offset + number)

    def noted(self, reached: Mapping[Place, int]) -> None:
        """The tables know that these were reached."""
        for place, offset in reached.items():
            if self.reached.get(place) == offset:
                del self.reached[place]

    @property
    def interrupted(self) -> bool:
        """Whether somebody else wrote between."""
        return bool(self._interrupted)

    def resume(self) -> set[Place]:
        """Where somebody else wrote; from here on it is looked at."""
        places, self._interrupted = self._interrupted, set()
        return places
