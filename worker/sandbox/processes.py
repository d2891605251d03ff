"""The programs that a sandbox starts, and how they are stopped."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# -P keeps Python from importing a `worker` module of the current folder instead of ours.
SETTLEMENT = (sys.executable, "-P", "-m", "worker")
DRAIN_SECONDS = 30.0


class ProcessError(Exception):
    """The message is one sentence: which program failed, and where its log is."""


class Processes:
    """Child processes by name, each with its own log file, until `stop` ends them."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = {**os.environ, **environment}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def start(self, name: str, *arguments: str, program: Sequence[str] = SETTLEMENT) -> None:
        """Starts `settlement …` under a name, in its own session, so that Ctrl-C reaches only us."""
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
        """The names of the programs that were started and not stopped."""
        return tuple(self._running)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs `settlement …` until it exits."""
        return subprocess.run(
            [*SETTLEMENT, *arguments], env=self._environment, text=True, capture_output=True, check=False
        )

    def must_run(self, *arguments: str) -> str:
        """Runs `settlement …` and returns its output; raises `ProcessError` if it fails."""
        finished = self.run(*arguments)
        if finished.returncode != 0:
            raise ProcessError(
                f"`settlement {' '.join(arguments)}` exited with {finished.returncode}: {finished.stderr.strip()}"
            )
        return finished.stdout

    def log(self, name: str) -> Path:
        """The log file of a program."""
        return self._folder / f"{name}.log"

    def raise_if_exited(self) -> None:
        """Raises `ProcessError` if a program that was not stopped has exited."""
        for name, process in self._running.items():
            if (code := process.poll()) is not None:
                raise ProcessError(f"`{name}` exited unexpectedly with {code}; its log is {self.log(name)}")

    def wait(self, name: str, seconds_max: float) -> int:
        """Waits for the program to exit by itself; returns its exit code."""
        code = self._running[name].wait(seconds_max)
        del self._running[name]
        return code

    def kill(self, name: str) -> None:
        """Ends the program with SIGKILL, like a crash."""
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def send_signal(self, name: str, which: signal.Signals) -> None:
        """Sends a signal to the program, which stays among those that were not stopped."""
        self._running[name].send_signal(which)

    def stop(self, *names: str) -> None:
        """Sends SIGTERM to the named programs (default: all), and SIGKILL to those that do not drain in time."""
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
