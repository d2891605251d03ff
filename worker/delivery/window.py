"""The commands of one connector that are due first; the others stay in the table, however many there are."""

import heapq

COMMANDS_MAX = 4_000
# With fewer than this, the next page is read from the table.
COMMANDS_LOW = COMMANDS_MAX // 2

Key = tuple[int, str]  # when it is due, in milliseconds; its commandId
NOTHING: Key = (-1, "")
EVERYTHING: Key = (1 << 62, "")


class Window:
    """Holds every command up to `reach` that is waiting and whose turn it is, so the table need not be polled.

    Only keys are held. A command is read from the table again before it is sent, so an outdated key does no harm.
    """

    def __init__(self) -> None:
        self._heap: list[Key] = []
        self.reach = NOTHING

    def __len__(self) -> int:
        return len(self._heap)

    def enter(self, key: Key) -> None:
        """Adds a command that may be sent from now on; one beyond the reach will be read from the table."""
        if key > self.reach:
            return
        heapq.heappush(self._heap, key)
        if len(self._heap) > 2 * COMMANDS_MAX:
            self._heap = heapq.nsmallest(COMMANDS_MAX, self._heap)
            self.reach = self._heap[-1]

    def first_ms(self) -> int | None:
        """When the first command is due."""
        return self._heap[0][0] if self._heap else None

    def first_id(self) -> str | None:
        """The command that is due first."""
        return self._heap[0][1] if self._heap else None

    def pop(self, now_ms: int) -> str | None:
        """Takes the first command, if it is due."""
        return heapq.heappop(self._heap)[1] if self._heap and self._heap[0][0] <= now_ms else None

    def lacking(self) -> int:
        """How many keys beyond the reach to read from the table; 0: there are enough, or there are no more."""
        enough = len(self._heap) >= COMMANDS_LOW or self.reach == EVERYTHING
        return 0 if enough else COMMANDS_MAX - len(self._heap)

    def refill(self, after: Key, keys: list[Key], limit: int) -> None:
        """Adds the table's next keys after `after`, in order; fewer than `limit` mean that there are no more.

        Does nothing if the window was forgotten while the table was read: the keys up to `after` are gone then.
        """
        if after != self.reach:
            return
        for key in keys:
            heapq.heappush(self._heap, key)
        self.reach = keys[-1] if len(keys) == limit else EVERYTHING

    def forget(self) -> None:
        """Empties the window; everything is read from the table again."""
        self._heap = []
        self.reach = NOTHING
