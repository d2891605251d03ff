"""What a handler may ask of its runner; made before both, so that neither needs the other to be built."""

import asyncio
from collections.abc import Mapping

from worker import metrics
from worker.settings import Settings
from worker.stream.clock import lease_time
from worker.stream.pace import Pace


class Control:
    """Handed to the handler's factory. All calls belong to the event loop's thread."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.epochs: Mapping[int, int] = {}
        """Owned partition → epoch. Only `own` changes it in a worker."""
        self.lease_ends = 0.0
        """As `lease_time` counts. What is owned may be acted upon until then."""
        self.pace = Pace()
        """How many records a cycle may bring; outlives the sessions that are lost."""
        self.changed = asyncio.Event()
        """Something happened that the runner's loop has to look at."""
        self.cycle_wanted = False
        self.failure: BaseException | None = None

    def own(self, epochs: Mapping[int, int]) -> None:
        """From here on exactly these partitions are ours, under these epochs."""
        self.epochs = epochs
        metrics.owned_partitions.set(len(epochs))

    def wake(self) -> None:
        """Asks for a cycle now, with records or without."""
        self.cycle_wanted = True
        self.changed.set()

    def may_send_for(self, partition: int) -> bool:
        """Whether a send for this partition may begin now."""
        return partition in self.epochs and self.lease_is_valid()

    def lease_is_valid(self) -> bool:
        """Whether this process may act at all; after it was frozen, only once the database says so."""
        return self.lease_seconds() > 0

    def lease_seconds(self) -> float:
        """How long the lease still lasts; below 0: it is over."""
        return self.lease_ends - lease_time()

    def fail(self, problem: BaseException) -> None:
        """A background task of the handler met what cannot be: the worker ends with it."""
        self.failure = problem
        self.changed.set()
