"""One start of a broker that nobody uses, kept so that Java starts all others in half the time."""

import contextlib
import fcntl
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from worker.stack.broker import Broker
from worker.stack.errors import PortTakenError, StackError
from worker.stack.home import Home
from worker.stack.java import Java, java
from worker.stack.processes import run


def make_archive(say: Callable[[str], None]) -> None:
    """Once for all homes of this user. Does nothing where it is made, and where another command is making it."""
    ours = java(say)
    if ours.archive_was_tried:
        return
    # Without an archive a broker starts as well, only later: whatever is in the way here is no reason to fail.
    with contextlib.suppress(OSError), ours.archive.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        say("Starting a broker for nobody, once, so that Java starts it in half the time from now on.")
        with TemporaryDirectory(prefix="archive-", dir=ours.archive.parent) as folder:
            _archived(ours, Path(folder)).replace(ours.archive)


def _archived(ours: Java, folder: Path) -> Path:
    """The archive, or an empty file where none came into being."""
    made, empty = folder / "made", folder / "empty"
    empty.touch()
    broker = Broker(Home(folder / "home"), archive=made)
    with contextlib.suppress(StackError, PortTakenError, psutil.Error):
        broker.home.make()
        try:
            broker.start()
        finally:
            broker.stop()
    return made if made.exists() and run(ours.checking(made), folder).returncode == 0 else empty
