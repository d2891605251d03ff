"""The database: PostgreSQL from a wheel, on loopback, with a password that only the home's owner can read."""

import os
import secrets
import signal
import socket
import sys
import tempfile
from pathlib import Path

from worker.stack.binaries import account_for, installation
from worker.stack.errors import StackError
from worker.stack.home import LOOPBACK, Home, built_whole
from worker.stack.processes import Account, run
from worker.stack.service import Service

USER = DATABASE = "settlement"
# It keeps books about money: what it acknowledged survives a power cut, here too.
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
# The folder a process was put into, by whatever way: a home below a closed folder needs no open parents so.
HERE = "/proc/self/cwd"
READY_LINE = 7


class Database(Service):
    """PostgreSQL of one home."""

    name = "postgres"
    ports = ("postgres",)
    stop_signal = signal.SIGINT  # PostgreSQL's fast shutdown: ends sessions, loses nothing

    def __init__(self, home: Home) -> None:
        super().__init__(home)
        self.account = account_for(self.data)
        self._password_file = self.folder / "password"

    @property
    def url(self) -> str:
        """With the password in it: for drivers, never for logs."""
        return f"postgresql://{USER}:{self._password_file.read_text()}@{self.address}/{DATABASE}"

    def working_folder(self) -> Path:
        return self.data

    def prepare(self) -> None:
        self.folder.mkdir(exist_ok=True)
        if (self.data / "PG_VERSION").exists():
            # None of our processes is left, so whoever has this id now is a stranger.
            (self.data / "postmaster.pid").unlink(missing_ok=True)
            return
        password = secrets.token_urlsafe(24)
        with built_whole(self.data) as scratch:
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
        """Its own word, in the file where `pg_ctl` looks for it, and a connection."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
            if len(lines) <= READY_LINE or lines[READY_LINE].strip() != "ready":
                return False
            socket.create_connection((LOOPBACK, self.home.port("postgres")), timeout=1).close()
        except OSError:
            return False
        return True

    def _initialize(self, data: Path, password: str) -> None:
        where = _data_argument(data, self.account)
        with tempfile.TemporaryFile() as file:
            file.write(password.encode())
            file.seek(0)
            if self.account:
                os.fchown(file.fileno(), self.account.uid, self.account.gid)
            self._must(
                data,
                [
                    self._program("initdb"),
                    f"--pgdata={where}",
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
        self._must(
            data, [self._program("postgres"), "--single", "-D", where, "postgres"], text=f"CREATE DATABASE {DATABASE}\n"
        )

    def _must(self, data: Path, command: list[str], stdin: int | None = None, text: str = "") -> None:
        done = run(command, data, self.account, stdin, text)
        if done.returncode != 0 or "ERROR" in done.stdout:
            said = [line for line in done.stdout.splitlines() if "error" in line.lower() or "FATAL" in line]
            reason = said[0] if said else done.stdout.strip()[-200:]
            raise StackError(f"PostgreSQL could not prepare {self.data}: {reason}.")

    def _program(self, name: str) -> str:
        return str(installation(self.account) / "bin" / name)


def _data_argument(data: Path, account: Account | None) -> str:
    return HERE if account and sys.platform == "linux" else str(data)
