"""Starts and stops both services together, and gives the settings that point at them."""

import shlex
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from worker.stack.aot_cache import make_aot_cache
from worker.stack.broker import Broker
from worker.stack.database import Database
from worker.stack.errors import PortTakenError, StackError
from worker.stack.home import Home
from worker.stack.service import Service, ServiceStatus


@dataclass(frozen=True)
class StackEnv:
    """The two settings that point a program at a stack."""

    bootstrap_servers: str
    database_url: str

    def as_settings(self) -> dict[str, str]:
        return {"KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers, "DATABASE_URL": self.database_url}

    def as_exports(self) -> str:
        """`export` lines for a shell's `eval`."""
        return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in self.as_settings().items())


def up(folder: Path, say: Callable[[str], None] = lambda _: None) -> StackEnv:
    """Starts the services that do not run yet; returns once both accept connections.

    If one cannot start, the other is stopped again if this call started it.
    """
    home = Home(folder)
    with _plain_errors():
        home.make()
        with home.locked():
            broker, database = Broker(home, say), Database(home)
            missing = [service for service in (broker, database) if not service.is_up()]
            if broker in missing:
                make_aot_cache(broker.java, say)
            _start_all(missing)
            return StackEnv(broker.address, database.url)


def down(folder: Path) -> None:
    """Stops both services of this home; its data and all other homes stay as they are."""
    home = Home(folder)
    with _plain_errors():
        if not home.folder.exists():
            _stop_all(home)  # the folder may have been deleted while the stack ran
            return
        with home.locked():
            _stop_all(home)


def status(folder: Path) -> list[ServiceStatus]:
    """The state of both services now; does not wait for a command that is starting or stopping them."""
    home = Home(folder)
    with _plain_errors():
        return [Broker(home).status(), Database(home).status()]


def environment(folder: Path) -> StackEnv:
    """The settings that point at this home's stack; `StackError` if it does not run."""
    home = Home(folder)
    with _plain_errors():
        if not all(service.status().accepting for service in (Broker(home), Database(home))):
            raise StackError(f"The local stack of {home.folder} is not running; start it with: settlement stack up")
        return StackEnv(Broker(home).address, Database(home).url)


def kafka_tool(folder: Path, name: str, arguments: list[str]) -> list[str]:
    """The command line of a Kafka tool for this home's broker; `StackError` if the broker does not run."""
    home = Home(folder)
    with _plain_errors():
        if not Broker(home).status().accepting:
            raise StackError(f"The broker of {home.folder} is not running; start it with: settlement stack up")
        return Broker(home).tool(name, arguments)


def _start_all(services: Sequence[Service]) -> None:
    """Starts all of them; stops them again if one cannot start."""
    try:
        with ThreadPoolExecutor() as pool:
            for starting in [pool.submit(service.start) for service in services]:
                starting.result()
    except BaseException:
        for service in services:
            service.stop()
        raise


def _stop_all(home: Home) -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda service: service.stop(), (Broker(home), Database(home))))


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Turns an error of the operating system (a folder, a full disk, another user's process) into a `StackError`."""
    try:
        yield
    except (OSError, psutil.Error, PortTakenError) as problem:
        raise StackError(f"The local stack failed: {_reason(problem)}.") from problem


def _reason(problem: Exception) -> str:
    """The system's own words, with the file that they are about."""
    if isinstance(problem, OSError) and problem.strerror:
        return f"{problem.filename}: {problem.strerror}" if problem.filename else problem.strerror
    return str(problem)
