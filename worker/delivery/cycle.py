"""What the delivery worker did in one cycle, until it is known whether that was committed."""

from collections.abc import Iterable

from worker.delivery.job import Job
from worker.delivery.lane import Lane
from worker.delivery.store import Store
from worker.stream.cycle import Cycle


class DeliveryCycle:
    """Kept by the handler until the commit; without one, `give_back` and the tables restore what memory held."""

    def __init__(self, cycle: Cycle) -> None:
        self.cycle = cycle
        self.store = Store(cycle.connection)
        self.slots: dict[str, Lane] = {}
        """Commands that their lanes count as in flight, although nothing is sent before the commit."""
        self.attempts: list[Job] = []
        """Written down in this cycle; they are sent after its commit."""
        self.results_booked = 0
        """How many of the results that were waiting when the cycle began."""
        self.fates: dict[str, int] = {}
        """How many of its records had which fate."""

    def give_back(self, command_ids: Iterable[str]) -> None:
        """These commands are not sent after all: their slots are free again."""
        for command_id in list(command_ids):
            self.slots.pop(command_id).give_back(command_id)
