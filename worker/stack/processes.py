"""Processes that outlive us: started detached, found by the mark in their command line, ended only if they are ours.

No file holds a process id, so none can be stale.
"""

import contextlib
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

ORDERLY_SECONDS_MAX = 30.0
# Only the child itself writes to the log; the shell between us ends at once, so nobody is left to reap.
_DETACH = '"$@" >&2 & echo $!'


@dataclass(frozen=True)
class Account:
    """Under whose name a process runs."""

    uid: int
    gid: int


def tidy_environment() -> dict[str, str]:
    """What a server may see of our environment: none of our secrets, no options for another Java."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def run(
    command: Sequence[str], folder: Path, account: Account | None = None, stdin: int | None = None, text: str = ""
) -> subprocess.CompletedProcess[str]:
    """Runs a helper to its end, in a folder that its account need not be able to reach by name."""
    return subprocess.run(
        command,
        cwd=folder,
        env=tidy_environment(),
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
    """Starts a server in a session of its own, so that it lives on when we and our terminal are gone."""
    with log.open("ab") as output:
        shell = subprocess.run(
            ["/bin/sh", "-c", _DETACH, "sh", *command],
            cwd=folder,
            env=tidy_environment(),
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


def marked(mark: str) -> list[psutil.Process]:
    """Every living process whose command line, or the title it gave itself, carries the mark."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "status"])
        if process.info["status"] != psutil.STATUS_ZOMBIE
        and any(mark in part for part in process.info["cmdline"] or ())
    ]


def is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def end(processes: Sequence[psutil.Process], signal: int) -> None:
    """Sends the signal, wakes frozen processes so that they receive it, waits, and kills those that do not end."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal)
            process.resume()
    _, deaf = psutil.wait_procs(processes, timeout=ORDERLY_SECONDS_MAX)
    for process in deaf:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(deaf, timeout=ORDERLY_SECONDS_MAX)
