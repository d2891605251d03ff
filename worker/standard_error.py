"""Writes the log to standard error in a thread of its own: a write to a pipe that nobody reads blocks for ever."""

import os
import sys
import time
from collections.abc import Callable
from queue import SimpleQueue
from threading import Event, Lock, Thread

# Room for a burst, and for what is logged while a disk stalls for a moment; some megabytes.
LINES_WAITING_MAX = 10_000
# A write that takes longer is reported: the lines behind it may be lost.
WRITE_SECONDS_MAX = 5.0


class StandardError:
    """A log file whose `write` never blocks. Lines keep their order; those that cannot be written, or queued, are lost.

    `failed` is called with the reason, in any thread; `written` after each write, with the number of lines lost before.
    """

    def __init__(self, failed: Callable[[str], None], written: Callable[[int], None]) -> None:
        self._failed = failed
        self._written = written
        self._queue: SimpleQueue[str | Event] = SimpleQueue()  # reentrant: a finalizer may log while we do
        self._write_began_at: float | None = None
        self._lines_lost = 0
        self._lines_lost_lock = Lock()
        Thread(target=self._write_always, name="log", daemon=True).start()

    def write(self, text: str) -> None:
        """Queues one line; returns at once."""
        full = self._queue.qsize() >= LINES_WAITING_MAX
        if not full:
            self._queue.put(text)
        began_at = self._write_began_at
        if full or (began_at is not None and time.monotonic() - began_at > WRITE_SECONDS_MAX):
            self._lose(int(full), "nobody reads it")

    def flush(self) -> None:
        """Does nothing; loggers call it after each line."""

    def wait(self, seconds_max: float) -> None:
        """Returns once every line queued so far is written or lost, and so is any report of that; or after the time."""
        done = Event()
        self._queue.put(done)
        done.wait(seconds_max)

    def _write_always(self) -> None:
        waiters: list[Event] = []
        while True:
            # Everything queued at once: while other threads are busy, this one gets a turn only 200 times a second.
            items = [self._queue.get(), *(self._queue.get() for _ in range(self._queue.qsize()))]
            if lines := [item for item in items if isinstance(item, str)]:
                self._write(lines)
            waiters += [item for item in items if isinstance(item, Event)]
            if self._queue.empty():
                for waiter in waiters:
                    waiter.set()
                waiters.clear()

    def _write(self, lines: list[str]) -> None:
        self._write_began_at = time.monotonic()
        try:
            _write("".join(lines))
        except (OSError, ValueError) as problem:  # ValueError: standard error is closed
            self._lose(len(lines), str(problem))
        else:
            self._report_written()
        finally:
            self._write_began_at = None

    def _report_written(self) -> None:
        """Reports the lost lines only once the queue has room for the line that this logs."""
        if self._queue.qsize() < LINES_WAITING_MAX:
            with self._lines_lost_lock:
                lost, self._lines_lost = self._lines_lost, 0
            self._written(lost)

    def _lose(self, lines: int, why: str) -> None:
        with self._lines_lost_lock:
            self._lines_lost += lines
        self._failed(why)


def _write(text: str) -> None:
    """Bypasses Python's buffer: the interpreter would abort at its end while this thread holds the buffer's lock."""
    rest = text.encode(sys.stderr.encoding, "backslashreplace")
    while rest:
        rest = rest[os.write(sys.stderr.fileno(), rest) :]
