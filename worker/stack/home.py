"""One folder, one stack: where everything lies, which ports it kept, and who may change it now."""

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
# Below the range from which systems take the ports of outgoing connections: nobody borrows ours while we are down.
PORTS = range(20_000, 32_000)


class Home:
    """The folder that `SETTLEMENT_HOME` names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().absolute()
        self.logs = self.folder / "logs"
        # Every process of this home carries this word in its command line; no other process does.
        self.mark = "settlement-" + hashlib.sha256(bytes(self.folder.resolve())).hexdigest()[:16]
        self._ports_file = self.folder / "ports.json"
        self._drawing = threading.Lock()

    @property
    def exists(self) -> bool:
        return self._ports_file.exists()

    def make(self) -> None:
        """Makes the folder, for its owner only. A disk without room for a start is refused here, before any harm."""
        if not self.folder.exists():
            self.folder.mkdir(parents=True, mode=0o700)
        self.logs.mkdir(exist_ok=True)
        free = shutil.disk_usage(self.folder).free
        if free < FREE_BYTES_MIN:
            raise StackError(
                f"The disk of {self.folder} is full: {free >> 20} MiB are left, "
                f"and the stack needs {FREE_BYTES_MIN >> 20} MiB."
            )

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One `up` or `down` of this home at a time; the others wait."""
        with (self.folder / ".lock").open("w") as file:
            give_up_at = time.monotonic() + LOCK_SECONDS_MAX
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > give_up_at:
                        raise StackError(f"Another command keeps {self.folder} locked; wait for it to end.") from None
                    time.sleep(0.05)
            yield

    def port(self, name: str) -> int:
        """The port of that name, drawn once and then kept."""
        return self._ports().get(name) or self.draw_port(name)

    def draw_port(self, name: str) -> int:
        """A free port that is kept from now on."""
        with self._drawing:
            ports = self._ports()
            ports[name] = next(port for port in _shuffled(PORTS) if port not in ports.values() and is_free(port))
            scratch = self._ports_file.with_suffix(".new")
            scratch.write_text(json.dumps(ports, indent=2) + "\n")
            scratch.replace(self._ports_file)
            return ports[name]

    def _ports(self) -> dict[str, int]:
        try:
            kept = json.loads(self._ports_file.read_text())
        except (FileNotFoundError, ValueError):
            return {}  # torn or missing: drawing new ones loses nothing
        return {str(name): int(port) for name, port in kept.items()}


def is_free(port: int) -> bool:
    """Whether a server could listen there now; connections of the past that linger do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


@contextlib.contextmanager
def built_whole(folder: Path) -> Iterator[Path]:
    """A folder to fill that gets its name only when it is complete; what an interrupted attempt left is removed."""
    scratch = folder.with_name(folder.name + ".new")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True, mode=0o700)
    yield scratch
    shutil.rmtree(folder, ignore_errors=True)
    scratch.rename(folder)


def _shuffled(ports: range) -> Iterator[int]:
    return iter(random.sample(ports, len(ports)))
