"""The folder of one stack: its paths, its stored ports, and the lock that lets one command at a time change it."""

import contextlib
import fcntl
import hashlib
import json
import random
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from worker.stack.errors import StackError

LOOPBACK = "127.0.0.1"
LOCK_SECONDS_MAX = 120.0
FREE_BYTES_MIN = 256 * 1024 * 1024
# Below the range of ephemeral ports: no outgoing connection takes one of ours while the stack is down.
PORTS = range(20_000, 32_000)


class Home:
    """The folder that `SETTLEMENT_HOME` names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().absolute()
        self.logs = self.folder / "logs"
        # Every process of this home has this word in its command line, and no other process has it.
        self.mark = "settlement-" + hashlib.sha256(bytes(self.folder.resolve())).hexdigest()[:16]
        self._ports_file = self.folder / "ports.json"
        self._port_lock = threading.Lock()

    @property
    def exists(self) -> bool:
        return self._ports_file.exists()

    def make(self) -> None:
        """Creates the folder, readable by its owner only; refuses a full disk here, before anything is written."""
        if not self.folder.exists():
            self.folder.mkdir(parents=True, mode=0o700)
        self.logs.mkdir(exist_ok=True)
        free = shutil.disk_usage(self.folder).free
        if free < FREE_BYTES_MIN:
            raise StackError(
                f"The disk of {self.folder} is full: {free >> 20} MiB are left, "
                f"and the stack needs {FREE_BYTES_MIN >> 20} MiB. Free some space."
            )

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lets one `up` or `down` of this home run at a time; others wait for it."""
        with (self.folder / ".lock").open("w") as file:
            deadline = time.monotonic() + LOCK_SECONDS_MAX
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise StackError(
                            f"Another command has locked {self.folder}; wait for it to end and try again."
                        ) from None
                    time.sleep(0.05)
            yield

    def port(self, name: str) -> int:
        """The stored port of that name; a new one is drawn and stored the first time."""
        return self._ports().get(name) or self.draw_port(name)

    def draw_port(self, name: str) -> int:
        """Draws a free port at random and stores it."""
        with self._port_lock:
            ports = self._ports()
            ports[name] = next(port for port in _shuffled(PORTS) if port not in ports.values() and is_free(port))
            scratch = self._ports_file.with_suffix(".new")
            scratch.write_text(json.dumps(ports, indent=2) + "\n")
            scratch.replace(self._ports_file)
            return ports[name]

    def _ports(self) -> dict[str, int]:
        try:
            stored = json.loads(self._ports_file.read_text())
        except (FileNotFoundError, ValueError):
            return {}  # half written or missing: drawing new ports loses nothing
        return {str(name): int(port) for name, port in stored.items()}


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now; old connections in TIME_WAIT do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


@contextlib.contextmanager
def filled_atomically(folder: Path) -> Iterator[Path]:
    """Yields a scratch folder that gets its final name only once it is filled; removes what an interrupted try left."""
    scratch = folder.with_name(folder.name + ".new")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True, mode=0o700)
    yield scratch
    shutil.rmtree(folder, ignore_errors=True)
    scratch.rename(folder)


def _shuffled(ports: range) -> Iterator[int]:
    return iter(random.sample(ports, len(ports)))
