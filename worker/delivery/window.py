"""The earliest due commands of one connector, by time; the rest stays in the table, however many there are."""

import heapq

COMMANDS_MAX = 4_000
# Below this the next ones are read from the table.
COMMANDS_LOW = COMMANDS_MAX // 2

Key = tuple[int, str]  # when it is due, in milliseconds; its commandId
NOTHING: Key = (-1, "")
EVERYTHING: Key = (1 << 62, "")


class Window:
    """Complete up to `reach`: each command whose turn it is and that is due by then is here, so nothing is polled for.

    Only keys are held. What is sent is read from the table again, so a key that is out of date does no harm.
    """

    def __init__(self) -> None:
        self._heap: list[Key] = []
        self.reach = NOTHING

    def __len__(self) -> int:
        return len(self._heap)

    def enter(self, key: Key) -> None:
        """A command that is new, whose turn has come, or that is asked again; beyond the reach the table has it."""
        if key > self.reach:
            return
        heapq.heappush(self._heap, key)
        if len(self._heap) > 2 * COMMANDS_MAX:
            self._heap = heapq.nsmallest(COMMANDS_MAX, self._heap)
            self.reach = self._heap[-1]

    def first_ms(self) -> int | None:
        """When the first of them is due."""
        return self._heap[0][0] if self._heap else None

    def pop(self, now_ms: int) -> str | None:
        """The first of them, if it is due."""
        return heapq.heappop(self._heap)[1] if self._heap and self._heap[0][0] <= now_ms else None

    def lacking(self) -> int:
        """How many beyond the reach the table should be asked for; 0 while there is enough, or no more."""
        enough = len(self._heap) >= COMMANDS_LOW or self.reach == EVERYTHING
        return 0 if enough else COMMANDS_MAX - len(self._heap)

    def refill(self, after: Key, keys: list[Key], asked: int) -> None:
        """Adds the table's next keys after `after`, in order: as many as were asked for, or all that are left.

        Does nothing if the window was forgotten while the table was read: the keys up to `after` are gone then.
        """
        if after != self.reach:
            return
        for key in keys:
            heapq.heappush(self._heap, key)
        self.reach = keys[-1] if len(keys) == asked else EVERYTHING

    def forget(self) -> None:
        """Everything is in the table."""
        self._heap = []
        self.reach = NOTHING
