"""Rows of the outbox that other workers wrote for our partitions, and when to look for them."""

import time

from worker.postgres.connecting import Connection
from worker.stream import outbox
from worker.stream.outbox import Row
from worker.stream.ownership import Ownership
from worker.stream.publisher import Publisher

# How often they are looked for outside of cycles.
POLL_SECONDS = 0.1


class MisplacedRows:
    """Looked for while there are other workers, and once more after the last has gone: its last row may be for us."""

    def __init__(self, ownership: Ownership, publisher: Publisher) -> None:
        self._ownership = ownership
        self._publisher = publisher
        self._nothing_left_of: int | None = None
        self._look_at = 0.0

    @property
    def look_at(self) -> float | None:
        """When to look outside of a cycle; None: there can be no such row."""
        return self._look_at if self._possible else None

    async def find(self, connection: Connection, partitions: list[int]) -> tuple[list[Row], bool]:
        """These rows, oldest first, and whether there may be more; inside a cycle, after its decisions."""
        if not self._possible:
            return [], False
        before = self._company
        found, more = await outbox.find_misplaced(connection, partitions, self._publisher.known)
        self._note(before, nothing=not found)
        return found, more

    async def due(self, connection: Connection, partitions: list[int]) -> bool:
        """Whether it is time to look, and there are some."""
        if self.look_at is None or time.monotonic() < self.look_at:
            return False
        self._look_at = time.monotonic() + POLL_SECONDS
        before = self._company
        found = await outbox.misplaced_exist(connection, partitions, self._publisher.known)
        self._note(before, nothing=not found)
        return found

    @property
    def _possible(self) -> bool:
        return self._company is None or self._company != self._nothing_left_of

    @property
    def _company(self) -> int | None:
        """Which of our times alone this is, counted; None while there are other workers."""
        return self._ownership.times_alone if self._ownership.alone else None

    def _note(self, before: int | None, *, nothing: bool) -> None:
        if nothing:
            self._nothing_left_of = before
