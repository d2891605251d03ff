"""State that a handler and its runner share; made before both, so that neither needs the other to be built."""

import asyncio
from collections.abc import Mapping

from worker import metrics
from worker.settings import Settings
from worker.stream.clock import lease_time
from worker.stream.pace import Pace


class Control:
    """Handed to the handler's factory. Call it only in the event loop's thread."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.epochs: Mapping[int, int] = {}
        """Owned partition → epoch. Only `own` changes it in a worker."""
        self.lease_ends = 0.0
        """As `lease_time` counts. What is owned may be acted upon until then."""
        self.pace = Pace()
        """How many records a cycle may have; outlives the sessions."""
        self.changed = asyncio.Event()
        """Wakes the session's loop."""
        self.cycle_wanted = False
        """Whether a cycle runs next, with records or without."""
        self.failure: BaseException | None = None
        """The error of a handler's background task, which ends the worker."""

    def own(self, epochs: Mapping[int, int]) -> None:
        """Exactly these partitions are ours from now on, under these epochs."""
        self.epochs = epochs
        metrics.owned_partitions.set(len(epochs))

    def wake(self) -> None:
        """Asks for a cycle now, with records or without."""
        self.cycle_wanted = True
        self.changed.set()

    def may_send_for(self, partition: int) -> bool:
        """Whether a send for this partition may begin now: it is ours, and the lease has not run out."""
        return partition in self.epochs and self.lease_is_valid()

    def lease_is_valid(self) -> bool:
        """Whether this process may act at all. One that was frozen may not until the database has renewed its lease."""
        return self.lease_seconds() > 0

    def lease_seconds(self) -> float:
        """How long the lease still lasts; not above 0: it has run out."""
        return self.lease_ends - lease_time()

    def fail(self, problem: BaseException) -> None:
        """Ends the worker with this error of a background task."""
        self.failure = problem
        self.changed.set()
