"""Finds outbox rows that other workers wrote for our partitions."""

import time

from worker.postgres.connecting import Connection
from worker.stream import outbox
from worker.stream.outbox import Row
from worker.stream.ownership import Ownership
from worker.stream.publisher import Publisher

# How often misplaced rows are looked for between cycles.
POLL_SECONDS = 0.1


class MisplacedRows:
    """Looks for rows while there are other workers, and once more after the last one left: it may have written one."""

    def __init__(self, ownership: Ownership, publisher: Publisher) -> None:
        self._ownership = ownership
        self._publisher = publisher
        self._exhausted: float | None = None
        """The value of `alone_since` with which nothing was found any more."""
        self._next_look_at = 0.0

    @property
    def next_look_at(self) -> float | None:
        """When to look for rows between two cycles; None: there can be no misplaced row."""
        return self._next_look_at if self._possible else None

    async def find(self, connection: Connection, partitions: list[int]) -> tuple[list[Row], bool]:
        """Returns the rows, oldest first, and whether there may be more. Called in a cycle, after its decisions."""
        if not self._possible:
            return [], False
        alone_since = self._ownership.alone_since
        found, more = await outbox.find_misplaced(connection, partitions, self._publisher.known)
        if not found:
            self._exhausted = alone_since
        return found, more

    async def are_due(self, connection: Connection, partitions: list[int]) -> bool:
        """Whether it is time to look, and there are misplaced rows."""
        if self.next_look_at is None or time.monotonic() < self.next_look_at:
            return False
        self._next_look_at = time.monotonic() + POLL_SECONDS
        alone_since = self._ownership.alone_since
        found = await outbox.misplaced_exist(connection, partitions, self._publisher.known)
        if not found:
            self._exhausted = alone_since
        return found

    @property
    def _possible(self) -> bool:
        alone_since = self._ownership.alone_since
        return alone_since is None or alone_since != self._exhausted
