"""Signals to the servers of a stack, and waiting until they took effect: a busy machine delivers them late."""

import os
import signal
from pathlib import Path

import psutil

from tests.until import until
from worker.stack.broker import Broker
from worker.stack.database import Database
from worker.stack.home import Home
from worker.stack.processes import is_alive
from worker.stack.service import Service

SECONDS_MAX = 20
LOOK_SECONDS = 0.005


async def strike(home: Path, service: str, how: signal.Signals) -> int:
    """Sends the signal to this home's `postgres` or `kafka`, waits for its effect, and returns the process id."""
    return await strike_server(next(one(Home(home)) for one in (Database, Broker) if one.name == service), how)


async def strike_server(server: Service, how: signal.Signals) -> int:
    """Sends the signal to the server, waits for its effect, and returns the process id."""
    pid = server.status().pid
    assert pid is not None, f"{server.name} does not run"
    os.kill(pid, how)
    await until(lambda: _is_struck(pid, how), SECONDS_MAX, look_seconds=LOOK_SECONDS)
    return pid


def _is_struck(pid: int, how: signal.Signals) -> bool:
    if how == signal.SIGKILL:
        return not is_alive(pid)
    return (psutil.Process(pid).status() == psutil.STATUS_STOPPED) == (how == signal.SIGSTOP)
