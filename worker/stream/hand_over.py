"""An orderly hand-over under way: the feature finishes what is in flight while cycles go on."""

import asyncio

from worker.cancelled import end
from worker.stream.control import Control
from worker.stream.cycle import Handler


class HandOver:
    """Partitions on their way out."""

    def __init__(self, partitions: frozenset[int], handler: Handler, control: Control) -> None:
        self.partitions = partitions
        self.booked = False
        """Whether the cycle after the release has run, which books the last results."""
        self._task = asyncio.ensure_future(handler.release(partitions))
        self._task.add_done_callback(lambda _: control.changed.set())

    def released(self) -> bool:
        """Whether the feature is done with them; raises what it met."""
        return self._task.done() and self._task.result() is None

    async def cancel(self) -> None:
        """Stops waiting for the feature."""
        await end([self._task])
