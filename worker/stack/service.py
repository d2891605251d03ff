"""What the broker and the database have in common: how one is started, looked at and stopped."""

import signal
import time
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import psutil

from worker.stack.errors import PortTakenError, StackError
from worker.stack.home import LOOPBACK, Home, is_free
from worker.stack.processes import Account, end, is_alive, marked, start_detached

PORTS_SECONDS_MAX = 2.0
START_SECONDS_MAX = 60.0
LOG_BYTES_MAX = 20 * 1024 * 1024
LOG_TAIL_BYTES = 64 * 1024


@dataclass(frozen=True)
class Look:
    """One service as it is at this moment."""

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
    """One server of one home."""

    name: ClassVar[str]
    ports: ClassVar[tuple[str, ...]]  # the names under which the home keeps them; the first is the clients'
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
        """Files for the first start, and a clean ground for any other."""

    @abstractmethod
    def command(self) -> list[str]:
        """What runs in the foreground, with the mark as one of its words."""

    @abstractmethod
    def accepts(self) -> bool:
        """Whether a client would be served right now, by this home's own process."""

    def working_folder(self) -> Path:
        return self.folder

    def start(self) -> None:
        """Running and serving when this returns, whatever an earlier life left behind. Called where it is not up."""
        self.stop()  # frozen, half dead, or left over from a folder that was deleted
        self.prepare()
        try:
            self._launch()
        except PortTakenError:
            self._draw_ports()
            self._launch()

    def stop(self) -> None:
        """Ends this home's own processes, in order; the data stays."""
        leaders, others = self._processes()
        end(leaders, self.stop_signal)
        end([process for process in others if process.is_running()], signal.SIGKILL)

    def is_up(self) -> bool:
        return bool(self._processes()[0]) and self.accepts()

    def look(self) -> Look:
        leaders, _ = self._processes()
        return Look(
            service=self.name,
            running=bool(leaders),
            accepting=bool(leaders) and self.accepts(),
            pid=leaders[0].pid if leaders else None,
            address=self.address if self.home.exists else "",
            data=str(self.data),
            log=str(self.log),
        )

    def _processes(self) -> tuple[list[psutil.Process], list[psutil.Process]]:
        """The server itself, and what it may have started."""
        found = marked(self.mark)
        leaders = [
            process for process in found if any(word.endswith(f"={self.mark}") for word in process.info["cmdline"])
        ]
        return leaders, [process for process in found if process not in leaders]

    def _launch(self) -> None:
        if not self._ports_are_free():
            self._draw_ports()
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES_MAX:
            self.log.replace(self.log.with_suffix(".log.1"))
        read_from = self.log.stat().st_size if self.log.exists() else 0
        pid = start_detached(self.command(), self.working_folder(), self.log, self.account)
        give_up_at = time.monotonic() + START_SECONDS_MAX
        while not self.accepts():
            if not is_alive(pid):
                raise self._why(read_from)
            if time.monotonic() > give_up_at:
                self.stop()
                raise StackError(
                    f"{self.name} did not accept connections within {START_SECONDS_MAX:.0f} s; see {self.log}."
                )
            time.sleep(0.03)

    def _ports_are_free(self) -> bool:
        """A server that was just killed holds them for a moment, and its clients look for it where it was."""
        give_up_at = time.monotonic() + PORTS_SECONDS_MAX
        while not all(is_free(self.home.port(name)) for name in self.ports):
            if time.monotonic() > give_up_at:
                return False
            time.sleep(0.03)
        return True

    def _draw_ports(self) -> None:
        for name in self.ports:
            self.home.draw_port(name)

    def _why(self, read_from: int) -> Exception:
        """The reason that its last lines give."""
        with self.log.open("rb") as file:
            file.seek(max(read_from, self.log.stat().st_size - LOG_TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
        said = "\n".join(lines)
        if "in use" in said and "ddress" in said:
            return PortTakenError(said)
        if "No space left on device" in said:
            return StackError(f"The disk of {self.data} is full, so {self.name} cannot start.")
        worst = [line for line in lines if "FATAL" in line or "ERROR" in line or "PANIC" in line or "Exception" in line]
        reason = (worst or lines or ["it said nothing"])[0].strip()
        return StackError(f"{self.name} ended while it started ({reason}); see {self.log}.")
