"""An orderly hand-over: the handler finishes what is in flight while cycles go on."""

import asyncio

from worker.cancelled import end
from worker.stream.control import Control
from worker.stream.cycle import Handler


class HandOver:
    """The partitions that are handed over, and how far that is."""

    def __init__(
        self, partitions: frozenset[int], handler: Handler, control: Control, *, unavailable: bool = False
    ) -> None:
        """`unavailable`: the partitions stay this member's, which takes them again once Kafka can serve them."""
        self.partitions = partitions
        self.unavailable = unavailable
        self.booked = False
        """Whether the cycle that books the last results has run, after the release."""
        self._task = asyncio.ensure_future(handler.release(partitions))
        self._task.add_done_callback(lambda _: control.changed.set())

    def released(self) -> bool:
        """Whether the handler has released the partitions; raises its error."""
        return self._task.done() and self._task.result() is None

    async def cancel(self) -> None:
        """Stops the handler's release."""
        await end([self._task])
