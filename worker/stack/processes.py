"""Starts processes that outlive this one, finds them by a mark in their command line, and ends them.

No process id is stored in a file, so none can be stale.
"""

import contextlib
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

SHUTDOWN_SECONDS_MAX = 30.0
# The shell between us and the server ends at once, so we need not reap the server; only the server writes to the log.
_DETACH = '"$@" >&2 & echo $!'


@dataclass(frozen=True)
class Account:
    """The user and group that a process runs as."""

    uid: int
    gid: int


def minimal_environment() -> dict[str, str]:
    """The environment of a server: without our secrets and without options for another Java."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def run(
    command: Sequence[str], folder: Path, account: Account | None = None, stdin: int | None = None, text: str = ""
) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end in a folder whose parents its account need not be able to enter."""
    return subprocess.run(
        command,
        cwd=folder,
        env=minimal_environment(),
        input=text,
        pass_fds=() if stdin is None else (stdin,),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )


def start_detached(command: Sequence[str], folder: Path, log: Path, account: Account | None = None) -> int:
    """Starts a server in its own session, so that it outlives us and our terminal; returns its process id."""
    with log.open("ab") as output:
        shell = subprocess.run(
            ["/bin/sh", "-c", _DETACH, "sh", *command],
            cwd=folder,
            env=minimal_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            start_new_session=True,
            check=True,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
    return int(shell.stdout)


def find_marked(mark: str) -> list[psutil.Process]:
    """Every live process whose command line, or the title that it set itself, contains the mark."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "ppid", "status"])
        if process.info["status"] != psutil.STATUS_ZOMBIE
        and any(mark in part for part in process.info["cmdline"] or ())
    ]


def is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def end(processes: Sequence[psutil.Process], signal: int) -> None:
    """Sends the signal, resumes stopped processes so that they receive it, waits, and kills those that do not end."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal)
            process.resume()
    _, remaining = psutil.wait_procs(processes, timeout=SHUTDOWN_SECONDS_MAX)
    for process in remaining:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(remaining, timeout=SHUTDOWN_SECONDS_MAX)
