"""The database: PostgreSQL from a wheel, on loopback; only the home's owner can read its password."""

import os
import secrets
import signal
import socket
import sys
import tempfile
from pathlib import Path

from worker.stack.binaries import account_for, installation
from worker.stack.errors import StackError
from worker.stack.home import LOOPBACK, Home, filled_atomically
from worker.stack.processes import Account, is_alive, run
from worker.stack.service import Service

USER = DATABASE = "settlement"
# It stores books about money: an acknowledged commit survives a power cut, even on a local stack.
OPTIONS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "shared_buffers": "256MB",
    "max_connections": "200",
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
# The working folder of the process: it works even where the account may not enter the parent folders of the home.
WORKING_FOLDER = "/proc/self/cwd"
STATUS_LINE = 7  # of postmaster.pid, counted from 0


class Database(Service):
    """The PostgreSQL server of one home."""

    name = "postgres"
    ports = ("postgres",)
    stop_signal = signal.SIGINT  # PostgreSQL's fast shutdown: it ends all sessions and loses no commit

    def __init__(self, home: Home) -> None:
        super().__init__(home)
        self.account = account_for(self.data)
        self._password_file = self.folder / "password"

    @property
    def url(self) -> str:
        """The address for drivers; it contains the password, so it must not be logged."""
        return f"postgresql://{USER}:{self._password_file.read_text()}@{self.address}/{DATABASE}"

    def working_folder(self) -> Path:
        return self.data

    def prepare(self) -> None:
        self.folder.mkdir(exist_ok=True)
        if (self.data / "PG_VERSION").exists():
            # `start` has ended all our processes, so a process with the id in this file is not ours.
            (self.data / "postmaster.pid").unlink(missing_ok=True)
            return
        password = secrets.token_urlsafe(24)
        with filled_atomically(self.data) as scratch:
            if self.account:
                os.chown(scratch, self.account.uid, self.account.gid)
            self._initialize(scratch, password)
            self._password_file.unlink(missing_ok=True)
            self._password_file.touch(mode=0o600, exist_ok=False)
            self._password_file.write_text(password)

    def command(self) -> list[str]:
        options = OPTIONS | {"port": str(self.home.port("postgres")), "cluster_name": self.mark}
        settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        return [self._program("postgres"), "-D", _data_argument(self.data, self.account), *settings]

    def accepts(self) -> bool:
        """Whether the server reports "ready" in `postmaster.pid`, as `pg_ctl` checks it, and accepts a connection.

        After a kill the file still says "ready", and a process just forked by the killed server may hold its port.
        """
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
            if len(lines) <= STATUS_LINE or lines[STATUS_LINE].strip() != "ready" or not is_alive(int(lines[0])):
                return False
            socket.create_connection((LOOPBACK, self.home.port("postgres")), timeout=1).close()
        except (OSError, ValueError):
            return False
        return True

    def _initialize(self, data: Path, password: str) -> None:
        data_argument = _data_argument(data, self.account)
        with tempfile.TemporaryFile() as file:
            file.write(password.encode())
            file.seek(0)
            if self.account:
                os.fchown(file.fileno(), self.account.uid, self.account.gid)
            self._must_run(
                data,
                [
                    self._program("initdb"),
                    f"--pgdata={data_argument}",
                    f"--username={USER}",
                    f"--pwfile=/dev/fd/{file.fileno()}",
                    "--auth=scram-sha-256",
                    "--encoding=UTF8",
                    "--locale-provider=builtin",
                    "--locale=C.UTF-8",
                    "--no-instructions",
                ],
                stdin=file.fileno(),
            )
        create = [self._program("postgres"), "--single", "-D", data_argument, "postgres"]
        self._must_run(data, create, text=f"CREATE DATABASE {DATABASE}\n")

    def _must_run(self, data: Path, command: list[str], stdin: int | None = None, text: str = "") -> None:
        finished = run(command, data, self.account, stdin, text)
        if finished.returncode != 0 or "ERROR" in finished.stdout:
            errors = [line for line in finished.stdout.splitlines() if "error" in line.lower() or "FATAL" in line]
            reason = errors[0] if errors else finished.stdout.strip()[-200:]
            raise StackError(f"PostgreSQL could not prepare {self.data}: {reason}.")

    def _program(self, name: str) -> str:
        return str(installation(self.account) / "bin" / name)


def _data_argument(data: Path, account: Account | None) -> str:
    return WORKING_FOLDER if account and sys.platform == "linux" else str(data)
