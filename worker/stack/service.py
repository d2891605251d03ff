"""How a service, the broker or the database, is started, stopped and checked."""

import signal
import time
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import psutil

from worker.stack.errors import PortTakenError, StackError
from worker.stack.home import LOOPBACK, Home, is_free
from worker.stack.processes import Account, end, find_marked, is_alive, start_detached

PORTS_FREE_SECONDS_MAX = 2.0
START_SECONDS_MAX = 60.0
LOG_BYTES_MAX = 20 * 1024 * 1024
LOG_TAIL_BYTES = 64 * 1024


@dataclass(frozen=True)
class ServiceStatus:
    """The state of one service at one moment."""

    service: str
    running: bool
    accepting: bool
    pid: int | None
    address: str
    data: str
    log: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Service(ABC):
    """One service of one home."""

    name: ClassVar[str]
    ports: ClassVar[tuple[str, ...]]  # names of the ports that the home stores; clients use the first
    stop_signal: ClassVar[int] = signal.SIGTERM
    account: Account | None = None

    def __init__(self, home: Home) -> None:
        self.home = home
        self.folder = home.folder / self.name
        self.data = self.folder / "data"
        self.log = home.logs / f"{self.name}.log"
        self.mark = f"{home.mark}-{self.name}"

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.home.port(self.ports[0])}"

    @abstractmethod
    def prepare(self) -> None:
        """Creates the files before the first start; removes leftovers before a later one."""

    @abstractmethod
    def command(self) -> list[str]:
        """The command line that runs the server in the foreground; one of its words ends with `=` and the mark."""

    @abstractmethod
    def accepts(self) -> bool:
        """Whether this home's own server would serve a client now."""

    def working_folder(self) -> Path:
        return self.folder

    def start(self) -> None:
        """Starts the service, whatever an earlier run left behind; returns once it serves. Must not be up already."""
        self.stop()  # a process may hang, be half dead, or be left from a folder that was deleted
        self.prepare()
        try:
            self._launch()
        except PortTakenError:
            self._draw_ports()
            self._launch()

    def stop(self) -> None:
        """Ends this service's processes, the server before its helpers; the data stays."""
        servers, helpers = self._processes()
        end(servers, self.stop_signal)
        end([process for process in helpers if process.is_running()], signal.SIGKILL)

    def is_up(self) -> bool:
        return bool(self._processes()[0]) and self.accepts()

    def status(self) -> ServiceStatus:
        servers, _ = self._processes()
        return ServiceStatus(
            service=self.name,
            running=bool(servers),
            accepting=bool(servers) and self.accepts(),
            pid=servers[0].pid if servers else None,
            address=self.address if self.home.exists else "",
            data=str(self.data),
            log=str(self.log),
        )

    def _processes(self) -> tuple[list[psutil.Process], list[psutil.Process]]:
        """The server itself, and the processes that it has started: one just forked still has its command line."""
        marked = find_marked(self.mark)
        pids = {process.pid for process in marked}
        servers = [
            process
            for process in marked
            if process.info["ppid"] not in pids
            and any(word.endswith(f"={self.mark}") for word in process.info["cmdline"])
        ]
        return servers, [process for process in marked if process not in servers]

    def _launch(self) -> None:
        if not self._ports_are_free():
            self._draw_ports()
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES_MAX:
            self.log.replace(self.log.with_suffix(".log.1"))
        log_start = self.log.stat().st_size if self.log.exists() else 0
        pid = start_detached(self.command(), self.working_folder(), self.log, self.account)
        deadline = time.monotonic() + START_SECONDS_MAX
        while not self.accepts():
            if not is_alive(pid):
                raise self._start_error(log_start)
            if time.monotonic() > deadline:
                self.stop()
                raise StackError(
                    f"{self.name} did not accept connections within {START_SECONDS_MAX:.0f} s; see {self.log}."
                )
            time.sleep(0.03)

    def _ports_are_free(self) -> bool:
        """Waits a moment for the ports: a server that was just killed still holds them, and its clients expect them."""
        deadline = time.monotonic() + PORTS_FREE_SECONDS_MAX
        while not all(is_free(self.home.port(name)) for name in self.ports):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.03)
        return True

    def _draw_ports(self) -> None:
        for name in self.ports:
            self.home.draw_port(name)

    def _start_error(self, log_start: int) -> Exception:
        """The error that the log gives for a failed start; `log_start` is where this start's lines begin."""
        with self.log.open("rb") as file:
            file.seek(max(log_start, self.log.stat().st_size - LOG_TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
        text = "\n".join(lines)
        if "in use" in text and "ddress" in text:
            return PortTakenError(text)
        if "No space left on device" in text:
            return StackError(f"The disk of {self.data} is full, so {self.name} cannot start. Free some space.")
        errors = [
            line for line in lines if "FATAL" in line or "ERROR" in line or "PANIC" in line or "Exception" in line
        ]
        reason = (errors or lines or ["it logged nothing"])[0].strip()
        return StackError(f"{self.name} ended while it was starting ({reason}); see {self.log}.")
