"""Where the log goes. A thread of its own writes it: on a pipe that nobody reads a write waits for ever."""

import os
import sys
import time
from collections.abc import Callable
from queue import SimpleQueue
from threading import Event, Lock, Thread

# A burst fits, and so does what is said while a disk stands still for a moment; it is some megabytes.
LINES_WAITING_MAX = 10_000
# A write that takes longer is told: what waits behind it will be lost.
WRITE_SECONDS_MAX = 5.0


class StandardError:
    """Lines in their order. What cannot be written, or finds no room to wait, is lost: nobody waits for it.

    `fails` is told why, in whatever thread; `writes` that it goes well, and how many lines were lost since it last did.
    """

    def __init__(self, fails: Callable[[str], None], writes: Callable[[int], None]) -> None:
        self._fails = fails
        self._writes = writes
        self._waiting: SimpleQueue[str | Event] = SimpleQueue()  # a finalizer may put something in while we do
        self._began_at: float | None = None
        self._lines_lost = 0
        self._counting = Lock()
        Thread(target=self._write_always, name="log", daemon=True).start()

    def write(self, text: str) -> None:
        """One line; returns at once."""
        full = self._waiting.qsize() >= LINES_WAITING_MAX
        if not full:
            self._waiting.put(text)
        began_at = self._began_at
        if full or (began_at is not None and time.monotonic() - began_at > WRITE_SECONDS_MAX):
            self._lose(int(full), "nobody reads it")

    def flush(self) -> None:
        """Nothing is held back."""

    def wait(self, seconds_max: float) -> None:
        """What was said is written or lost, with what is to be said of that, or the time is over."""
        done = Event()
        self._waiting.put(done)
        done.wait(seconds_max)

    def _write_always(self) -> None:
        awaited: list[Event] = []
        while True:
            # All that waits: while others are busy this thread gets its turn two hundred times a second.
            taken = [self._waiting.get(), *(self._waiting.get() for _ in range(self._waiting.qsize()))]
            if lines := [one for one in taken if isinstance(one, str)]:
                self._write(lines)
            awaited += [one for one in taken if isinstance(one, Event)]
            if self._waiting.empty():
                for one in awaited:
                    one.set()
                awaited.clear()

    def _write(self, lines: list[str]) -> None:
        self._began_at = time.monotonic()
        try:
            _write("".join(lines))
        except (OSError, ValueError) as problem:  # ValueError: it was closed
            self._lose(len(lines), str(problem))
        else:
            self._tell_written()
        finally:
            self._began_at = None

    def _tell_written(self) -> None:
        """Once there is room for what will be said of it."""
        if self._waiting.qsize() < LINES_WAITING_MAX:
            with self._counting:
                lost, self._lines_lost = self._lines_lost, 0
            self._writes(lost)

    def _lose(self, lines: int, why: str) -> None:
        with self._counting:
            self._lines_lost += lines
        self._fails(why)


def _write(text: str) -> None:
    """Past Python's own buffer: the interpreter would abort at its end while a thread holds that one's lock."""
    rest = text.encode(sys.stderr.encoding, "backslashreplace")
    while rest:
        rest = rest[os.write(sys.stderr.fileno(), rest) :]
