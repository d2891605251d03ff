"""Signals to the servers of a stack: where the machine is busy, whoever gets one goes on answering for a moment."""

import os
import signal
from pathlib import Path

import psutil

from tests.until import until
from worker.stack import status
from worker.stack.processes import is_alive

SECONDS_MAX = 20
LOOK_SECONDS = 0.005


async def strike(home: Path, service: str, how: signal.Signals) -> int:
    """Dead, frozen or awake is this home's `postgres` or `kafka` when this returns; tells which process it was."""
    pid = next(look.pid for look in status(home) if look.service == service)
    assert pid is not None, f"{service} does not run"
    os.kill(pid, how)
    await until(lambda: _is_struck(pid, how), SECONDS_MAX, look_seconds=LOOK_SECONDS)
    return pid


def _is_struck(pid: int, how: signal.Signals) -> bool:
    if how == signal.SIGKILL:
        return not is_alive(pid)
    return (psutil.Process(pid).status() == psutil.STATUS_STOPPED) == (how == signal.SIGSTOP)
