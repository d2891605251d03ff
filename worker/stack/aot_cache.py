"""One start of a broker that nobody uses, kept so that Java starts all others in half the time."""

import contextlib
import fcntl
import shutil
from collections.abc import Callable

import psutil

from worker.stack.broker import Broker
from worker.stack.errors import PortTakenError, StackError
from worker.stack.home import Home
from worker.stack.java import Java
from worker.stack.processes import run


def make_aot_cache(ours: Java, say: Callable[[str], None]) -> None:
    """Once for all homes of this user. Does nothing where it is made, and where another command is making it."""
    if ours.aot_cache_was_tried:
        return
    # Without an archive a broker starts as well, only later: whatever is in the way here is no reason to fail.
    with contextlib.suppress(OSError, StackError), ours.aot_cache.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not ours.aot_cache_was_tried:
            _make(ours, say)


def _make(ours: Java, say: Callable[[str], None]) -> None:
    """The archive, or an empty file where none comes into being. A full disk is no attempt: it may have room again."""
    folder = ours.aot_cache.with_suffix(".new")  # always the same: a broker that an attempt left running is ended
    shutil.rmtree(folder, ignore_errors=True)
    made, empty = folder / "made", folder / "empty"
    broker = Broker(Home(folder / "home"), aot_cache_to_write=made)
    broker.home.make()
    say("Starting a broker for nobody, once, so that Java starts it in half the time from now on.")
    with contextlib.suppress(StackError, PortTakenError, psutil.Error):
        try:
            broker.start()
        finally:
            broker.stop()
    empty.touch()
    whole = made.exists() and run(ours.checking(made), folder).returncode == 0
    (made if whole else empty).replace(ours.aot_cache)
    shutil.rmtree(folder)
