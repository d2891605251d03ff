"""The broker's jars: those of `broker.lock`, fetched once per user, compared with their sums before each start."""

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
# A name that is not found, a server that is out of order or a connection that breaks is tried again after so long.
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
    """Where this user's downloads lie, whatever home they are for."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "partial-settlement" / "jars"


def locked_jars(lock_file: Path) -> list[Jar]:
    """The lock file: `sha256  group:artifact:version` on each line."""
    lines = [line.split() for line in lock_file.read_text().splitlines() if line and not line.startswith("#")]
    return [Jar(sha256, *coordinate.split(":")) for sha256, coordinate in lines]


def verified_jars(say: Callable[[str], None], folder: Path | None = None, lock_file: Path = LOCK_FILE) -> list[Path]:
    """Every jar of the lock file on this disk, byte for byte the one that was locked; else a `StackError`."""
    folder = folder or cache_folder()
    if os.pathsep in str(folder):
        raise StackError(
            f"The broker's jars cannot lie in {folder}: Java reads {os.pathsep!r} as the end of a name. Name another "
            "folder in XDG_CACHE_HOME."
        )
    folder.mkdir(parents=True, exist_ok=True)
    jars = locked_jars(lock_file)
    if _missing(jars, folder):
        with folder.with_suffix(".lock").open("w") as lock:
            _take_turn(lock, say)
            if missing := _missing(jars, folder):  # else another command brought them meanwhile
                say(f"Fetching {len(missing)} of the broker's {len(jars)} jars, once for all your homes.")
                _fetch(missing, folder)
    return [folder / jar.file_name for jar in jars]


def _take_turn(lock: IO[str], say: Callable[[str], None]) -> None:
    """Waits while another command is fetching."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("Another command is fetching the broker's jars; waiting for it.")
        fcntl.flock(lock, fcntl.LOCK_EX)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _missing(jars: list[Jar], folder: Path) -> list[Jar]:
    return [jar for jar in jars if not _is_locked_one(jar, folder / jar.file_name)]


def _is_locked_one(jar: Jar, path: Path) -> bool:
    return path.exists() and sha256_of(path) == jar.sha256


def _fetch(jars: list[Jar], folder: Path) -> None:
    """Brings the jars into the folder, each under its name only after its sum was compared."""
    import requests  # noqa: PLC0415 - comes with jgo
    from jgo.config import GlobalSettings  # noqa: PLC0415 - part of the extra `local`
    from jgo.constants import MAVEN_CENTRAL_URL, default_maven_repo  # noqa: PLC0415
    from jgo.maven import MavenContext  # noqa: PLC0415

    trouble = (requests.RequestException, RuntimeError)  # jgo has the second for whatever a server answers but 200

    def resolved(jar: Jar) -> Path:
        artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
        assert artifact.cached_path is not None  # since the context has a folder
        for pause in FETCH_PAUSES_SECONDS:
            try:
                return Path(artifact.resolve())
            except trouble:
                artifact.cached_path.unlink(missing_ok=True)  # half of it may have come
                time.sleep(pause)
        return Path(artifact.resolve())

    def fetch(jar: Jar) -> None:
        path = resolved(jar)
        found = sha256_of(path)
        if found != jar.sha256:
            raise StackError(
                f"{jar.coordinate} is not the file that was locked (its SHA-256 is {found}, not {jar.sha256}), "
                "so the broker is not started."
            )
        # Copied beside its place first: a reader sees the whole file or none.
        copy = Path(scratch) / f"{jar.file_name}.verified"
        shutil.copyfile(path, copy)
        copy.replace(folder / jar.file_name)

    with tempfile.TemporaryDirectory(dir=folder) as scratch, _trust_of_this_machine():
        context = MavenContext(
            repo_cache=Path(scratch),
            # A copy that another tool left on this machine serves as well: its sum is compared all the same.
            local_repos=[default_maven_repo()],
            remote_repos={"central": MAVEN_CENTRAL_URL} | GlobalSettings.load().repositories,
            timeout=FETCH_SECONDS_MAX,
        )
        with ThreadPoolExecutor(FETCHES_AT_ONCE) as pool:
            try:
                list(pool.map(fetch, jars))
            except trouble as problem:
                raise StackError(f"The broker's jars cannot be fetched: {problem}.") from problem


@contextlib.contextmanager
def _trust_of_this_machine() -> Iterator[None]:
    """Lets the fetcher trust the certificates that this machine trusts, not only those that its library brought."""
    trusted = ssl.get_default_verify_paths().cafile
    if "REQUESTS_CA_BUNDLE" in os.environ or not trusted:
        yield
        return
    os.environ["REQUESTS_CA_BUNDLE"] = trusted
    try:
        yield
    finally:
        del os.environ["REQUESTS_CA_BUNDLE"]
