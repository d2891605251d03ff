"""Writes Java's AOT cache of the broker: one extra start of a broker, after which all others start in half the time."""

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


def make_aot_cache(java: Java, say: Callable[[str], None]) -> None:
    """Makes the cache once for all homes of this user; does nothing where another command is making it."""
    if java.aot_cache_was_tried:
        return
    # A broker starts without the cache too, only more slowly: no error here is a reason to fail.
    with contextlib.suppress(OSError, StackError), java.aot_cache.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not java.aot_cache_was_tried:
            _make(java, say)


def _make(java: Java, say: Callable[[str], None]) -> None:
    """Writes the cache, or an empty file if Java cannot make one. After a full disk the next start tries again."""
    folder = java.aot_cache.with_suffix(".new")  # always the same name, so a broker left by an earlier try is stopped
    shutil.rmtree(folder, ignore_errors=True)
    cache, empty = folder / "made", folder / "empty"
    broker = Broker(Home(folder / "home"), aot_cache_to_write=cache)
    broker.home.make()
    say("Starting a broker once only to let Java cache its classes; every later start takes half the time.")
    with contextlib.suppress(StackError, PortTakenError, psutil.Error):
        try:
            broker.start()
        finally:
            broker.stop()
    empty.touch()
    usable = cache.exists() and run(java.command_checking_aot_cache(cache), folder).returncode == 0
    (cache if usable else empty).replace(java.aot_cache)
    shutil.rmtree(folder)
