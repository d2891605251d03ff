"""The stack as a whole: both services up or down together, and the settings that point at them."""

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
from worker.stack.service import Look, Service


@dataclass(frozen=True)
class StackEnv:
    """The two settings that point a program at a stack."""

    bootstrap_servers: str
    database_url: str

    def as_settings(self) -> dict[str, str]:
        return {"KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers, "DATABASE_URL": self.database_url}

    def as_exports(self) -> str:
        """Lines for a shell's `eval`."""
        return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in self.as_settings().items())


def up(folder: Path, say: Callable[[str], None] = lambda _: None) -> StackEnv:
    """Both services accept connections when this returns. Does nothing where they already do.

    A service that this call started is stopped again if the other one cannot start.
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
    """Nothing of this home runs when this returns; its data stays. Other homes are not touched."""
    home = Home(folder)
    with _plain_errors():
        if not home.folder.exists():
            _stop_all(home)  # a folder that was deleted under a running stack
            return
        with home.locked():
            _stop_all(home)


def status(folder: Path) -> list[Look]:
    """What runs now, without waiting for anybody."""
    home = Home(folder)
    with _plain_errors():
        return [Broker(home).look(), Database(home).look()]


def environment(folder: Path) -> StackEnv:
    """The settings that point at this home's stack, which must be running."""
    home = Home(folder)
    with _plain_errors():
        if not all(service.look().accepting for service in (Broker(home), Database(home))):
            raise StackError(f"The local stack of {home.folder} is not running; start it with: settlement stack up")
        return StackEnv(Broker(home).address, Database(home).url)


def kafka_tool(folder: Path, name: str, arguments: list[str]) -> list[str]:
    """The command line of one of Kafka's own tools, pointed at this home's broker, which must be running."""
    home = Home(folder)
    with _plain_errors():
        if not Broker(home).look().accepting:
            raise StackError(f"The broker of {home.folder} is not running; start it with: settlement stack up")
        return Broker(home).tool(name, arguments)


def _start_all(services: Sequence[Service]) -> None:
    """All of them, or none."""
    try:
        with ThreadPoolExecutor() as pool:
            for started in [pool.submit(service.start) for service in services]:
                started.result()
    except BaseException:
        for service in services:
            service.stop()
        raise


def _stop_all(home: Home) -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda service: service.stop(), (Broker(home), Database(home))))


@contextmanager
def _plain_errors() -> Iterator[None]:
    """What the system refuses (a folder, a full disk, a foreign process) in one sentence as well."""
    try:
        yield
    except (OSError, psutil.Error, PortTakenError) as problem:
        raise StackError(f"The local stack cannot go on: {problem}.") from problem
