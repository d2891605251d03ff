"""The broker's jars: listed in `broker.lock`, fetched once per user, and their hashes verified before each start."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from worker.stack.errors import StackError

LOCK_FILE = Path(__file__).parent / "broker.lock"
FETCHES_AT_ONCE = 8
FETCH_SECONDS_MAX = 60
# Pauses before the retries after a failed name lookup, a server error or a broken connection.
FETCH_PAUSES_SECONDS = (1.0, 3.0)


@dataclass(frozen=True)
class Jar:
    """One line of the lock file."""

    sha256: str
    group: str
    artifact: str
    version: str

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"

    @property
    def coordinate(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"


def cache_folder() -> Path:
    """The folder of this user's downloads, which all homes share."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "partial-settlement" / "jars"


def locked_jars(lock_file: Path) -> list[Jar]:
    """Reads the lock file; each line is `sha256  group:artifact:version`."""
    lines = [line.split() for line in lock_file.read_text().splitlines() if line and not line.startswith("#")]
    return [Jar(sha256, *coordinate.split(":")) for sha256, coordinate in lines]


def verified_jars(say: Callable[[str], None], folder: Path | None = None, lock_file: Path = LOCK_FILE) -> list[Path]:
    """The paths of all jars of the lock file, fetched where missing; `StackError` if a hash differs."""
    folder = folder or cache_folder()
    if os.pathsep in str(folder):
        raise StackError(
            f"The broker's jars cannot be kept in {folder}: Java takes {os.pathsep!r} for the end of a path. Set "
            "XDG_CACHE_HOME to another folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    jars = locked_jars(lock_file)
    if _missing(jars, folder):
        with folder.with_suffix(".lock").open("w") as lock:
            _wait_for_lock(lock, say)
            if missing := _missing(jars, folder):  # none if another command has just fetched them
                say(f"Fetching {len(missing)} of the broker's {len(jars)} jars; all your homes will share them.")
                _fetch(missing, folder)
    return [folder / jar.file_name for jar in jars]


def _wait_for_lock(lock: IO[str], say: Callable[[str], None]) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("Another command is fetching the broker's jars; waiting for it.")
        fcntl.flock(lock, fcntl.LOCK_EX)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _missing(jars: list[Jar], folder: Path) -> list[Jar]:
    return [jar for jar in jars if not _is_intact(jar, folder / jar.file_name)]


def _is_intact(jar: Jar, path: Path) -> bool:
    return path.exists() and sha256_of(path) == jar.sha256


def _fetch(jars: list[Jar], folder: Path) -> None:
    """Fetches the jars into the folder; each gets its final name only after its hash was verified."""
    import requests  # noqa: PLC0415 - comes with jgo
    from jgo.config import GlobalSettings  # noqa: PLC0415 - part of the extra `local`
    from jgo.constants import MAVEN_CENTRAL_URL, default_maven_repo  # noqa: PLC0415
    from jgo.maven import MavenContext  # noqa: PLC0415

    fetch_errors = (requests.RequestException, RuntimeError)  # jgo raises RuntimeError for every status but 200

    def download(jar: Jar) -> Path:
        artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
        assert artifact.cached_path is not None  # the context has a `repo_cache`
        for pause in FETCH_PAUSES_SECONDS:
            try:
                return Path(artifact.resolve())
            except fetch_errors:
                artifact.cached_path.unlink(missing_ok=True)  # it may be half written
                time.sleep(pause)
        return Path(artifact.resolve())

    def fetch(jar: Jar) -> None:
        path = download(jar)
        sha256 = sha256_of(path)
        if sha256 != jar.sha256:
            raise StackError(
                f"{jar.coordinate} is not the locked file (its SHA-256 is {sha256}, not {jar.sha256}), "
                "so the broker was not started."
            )
        # Copied beside its destination and renamed: a reader sees the whole file or none.
        copy = Path(scratch) / f"{jar.file_name}.verified"
        shutil.copyfile(path, copy)
        copy.replace(folder / jar.file_name)

    with tempfile.TemporaryDirectory(dir=folder) as scratch, _system_certificates():
        context = MavenContext(
            repo_cache=Path(scratch),
            # A copy from another tool's Maven repository will do: its hash is verified too.
            local_repos=[default_maven_repo()],
            remote_repos={"central": MAVEN_CENTRAL_URL} | GlobalSettings.load().repositories,
            timeout=FETCH_SECONDS_MAX,
        )
        with ThreadPoolExecutor(FETCHES_AT_ONCE) as pool:
            try:
                list(pool.map(fetch, jars))
            except fetch_errors as problem:
                raise StackError(f"The broker's jars could not be fetched: {problem}.") from problem


@contextlib.contextmanager
def _system_certificates() -> Iterator[None]:
    """Makes `requests` trust the certificates of this machine; by default it trusts only those that it ships."""
    ca_file = ssl.get_default_verify_paths().cafile
    if "REQUESTS_CA_BUNDLE" in os.environ or not ca_file:
        yield
        return
    os.environ["REQUESTS_CA_BUNDLE"] = ca_file
    try:
        yield
    finally:
        del os.environ["REQUESTS_CA_BUNDLE"]
