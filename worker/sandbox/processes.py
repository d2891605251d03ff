"""The programs that a demo starts, and their certain end."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# -P: never a `worker` that happens to lie in the folder where the demo was typed.
SETTLEMENT = (sys.executable, "-P", "-m", "worker")
DRAIN_SECONDS = 30.0


class ProcessError(Exception):
    """One sentence: which program did not do what it was started for, and where its log is."""


class Processes:
    """Children of this process, each with a log of its own. `stop` ends them."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = {**os.environ, **environment}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def start(self, name: str, *arguments: str, program: Sequence[str] = SETTLEMENT) -> None:
        """Starts `settlement …` under a name; a session of its own keeps Ctrl-C from reaching it before us."""
        with self.log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                [*program, *arguments],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def names(self) -> tuple[str, ...]:
        """What was started and not stopped."""
        return tuple(self._running)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs `settlement …` to its end."""
        return subprocess.run(
            [*SETTLEMENT, *arguments], env=self._environment, text=True, capture_output=True, check=False
        )

    def must_run(self, *arguments: str) -> str:
        """Its output, or a `ProcessError` that quotes it."""
        done = self.run(*arguments)
        if done.returncode != 0:
            raise ProcessError(
                f"`settlement {' '.join(arguments)}` ended with {done.returncode}: {done.stderr.strip()}"
            )
        return done.stdout

    def log(self, name: str) -> Path:
        """Where a program's output goes."""
        return self._folder / f"{name}.log"

    def watch(self) -> None:
        """Raises when one of them ended by itself."""
        for name, process in self._running.items():
            if (code := process.poll()) is not None:
                raise ProcessError(f"`{name}` ended by itself with {code}; its log is {self.log(name)}")

    def wait(self, name: str, seconds_max: float) -> int:
        """Its exit code, once it has ended by itself."""
        code = self._running[name].wait(seconds_max)
        del self._running[name]
        return code

    def kill(self, name: str) -> None:
        """SIGKILL, like a crash; the caller starts it again."""
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def stop(self, *names: str) -> None:
        """SIGTERM, and the time to drain; after that the end."""
        stopping = {name: self._running.pop(name) for name in names or tuple(self._running) if name in self._running}
        for process in stopping.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in stopping.values():
            try:
                process.wait(DRAIN_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
