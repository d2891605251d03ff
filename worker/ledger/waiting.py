"""The records that wait for one order (R29), and how one cycle changes them."""

from typing import Literal

from msgspec import Struct

from worker.kafka.envelope import Unreadable
from worker.kafka.records import Record
from worker.ledger.reading import Readable, read_fact

WaitsFor = Literal["order", "payment", "connectors", "judgement"]


class Parked(Struct, eq=False):
    """A record that waits; `row_id` is None until it is stored."""

    record: Record
    waits_for: WaitsFor
    expires_at_ms: int | None
    row_id: int | None = None
    subject: str | None = None
    known: Readable | Unreadable | None = None
    moved: bool = False
    """Whether it waits for something else, or until another time, than its row says."""

    @property
    def read(self) -> Readable | Unreadable:
        """The fact in it, read only once."""
        if self.known is None:
            self.known = read_fact(self.record)
        return self.known


class Waiting:
    """The records that wait for one order, in the order in which they are stored."""

    def __init__(self) -> None:
        self.parked: list[Parked] = []
        self.unfinished = False
        """Whether some could be tried and were not yet: the next cycle goes on."""
        self.changed = False
        self.ended: list[int] = []
        """The rows of those that no longer wait."""
        self._unread = 0
        self._unread_due_ms: int | None = None

    @property
    def number(self) -> int:
        """How many wait, including those that were not read."""
        return len(self.parked) + self._unread

    def add_stored(self, stored: Parked) -> None:
        """Adds a record that waited before this cycle."""
        self.parked.append(stored)

    def add_unread(self, number: int, due_ms: int | None) -> None:
        """Counts records that wait and were not read, since nothing can come of them in this cycle."""
        self._unread, self._unread_due_ms = number, due_ms

    def add(self, parked: Parked) -> None:
        """Adds a record that waits from now on."""
        self.parked.append(parked)
        self.changed = True

    def hold(self, record: Record, subject: str) -> None:
        """Holds an automatic settlement until the payment's own captures have ended (R27)."""
        self.add(Parked(record, "judgement", None, subject=subject))

    def held(self, subject: str) -> list[Parked]:
        """The held records of one automatic settlement."""
        return [one for one in self.parked if one.subject == subject]

    def overdue(self, now_ms: int) -> list[Parked]:
        """Those whose deadline has come."""
        return [one for one in self.parked if one.expires_at_ms is not None and one.expires_at_ms <= now_ms]

    def drop(self, parked: Parked) -> None:
        """Removes a record that no longer waits."""
        self.parked.remove(parked)
        self.forget(parked)

    def take_out(self) -> list[Parked]:
        """Takes out all records to be tried; held automatic settlements stay."""
        taken = [one for one in self.parked if one.waits_for != "judgement"]
        self.parked = [one for one in self.parked if one.waits_for == "judgement"]
        return taken

    def forget(self, parked: Parked) -> None:
        """Ends the waiting of a record that was taken out."""
        if parked.row_id is not None:
            self.ended.append(parked.row_id)
        self.changed = True

    def keep_waiting(self, parked: Parked, waits_for: WaitsFor, expires_at_ms: int | None) -> None:
        """Notes what a record that was taken out now waits for, and until when."""
        if (parked.waits_for, parked.expires_at_ms) != (waits_for, expires_at_ms):
            parked.waits_for, parked.expires_at_ms = waits_for, expires_at_ms
            parked.moved = self.changed = True

    def put_back(self, tried: list[Parked], untried: list[Parked]) -> None:
        """Puts back those that were taken out and still wait."""
        self.parked += [*tried, *untried]
        self.unfinished = bool(untried)

    def unread_are_due(self, now_ms: int) -> bool:
        """Whether a record that was not read expires by then."""
        return self._unread_due_ms is not None and self._unread_due_ms <= now_ms

    def due_ms(self) -> int | None:
        """The earliest deadline; 0 if some could be tried and were not yet."""
        if self.unfinished:
            return 0
        deadlines = (self._unread_due_ms, *(one.expires_at_ms for one in self.parked))
        return min((one for one in deadlines if one is not None), default=None)
