"""The embedded stack starts, stops, recovers after a crash and keeps its data."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import psutil
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.striking import strike
from tests.until import until
from worker.stack import StackEnv, down, status, up
from worker.stack.database import Database
from worker.stack.home import Home, is_free
from worker.stack.java import java
from worker.stack.processes import is_alive, start_detached

PROJECT = Path(__file__).parents[2]
LISTEN = """
import signal, socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))):
    signal.pause()
"""


@pytest.fixture(scope="module")
def kept_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("kept") / "home"
    yield folder
    down(folder)


@pytest.fixture
def home(kept_home: Path) -> Path:
    """A running stack; the tests of this file share it and its data."""
    up(kept_home)
    return kept_home


def pids(home: Path) -> dict[str, int | None]:
    return {service.service: service.pid for service in status(home)}


def states(home: Path) -> set[tuple[bool, bool]]:
    return {(service.running, service.accepting) for service in status(home)}


async def create_table_and_topic(env: StackEnv, name: str) -> None:
    connection = await asyncpg.connect(env.database_url)
    await connection.execute(f"CREATE TABLE {name} ()")
    await connection.close()
    admin = AIOKafkaAdminClient(bootstrap_servers=env.bootstrap_servers)
    await admin.start()
    await admin.create_topics([NewTopic(name, 1, 1)])
    await admin.close()


async def has_table_and_topic(env: StackEnv, name: str) -> bool:
    connection = await asyncpg.connect(env.database_url)
    table = await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", name)
    await connection.close()
    admin = AIOKafkaAdminClient(bootstrap_servers=env.bootstrap_servers)
    await admin.start()
    topics = await admin.list_topics()
    await admin.close()
    return bool(table) and name in topics


def test_kafka_and_postgresql_accept_connections_when_up_returns(home: Path) -> None:
    assert states(home) == {(True, True)}


def test_a_second_up_changes_nothing(home: Path) -> None:
    before = pids(home)

    up(home)

    assert pids(home) == before


def test_two_ups_at_once_start_one_stack(kept_home: Path) -> None:
    down(kept_home)

    with ThreadPoolExecutor() as pool:
        first, second = pool.map(up, [kept_home, kept_home])

    assert first == second
    assert states(kept_home) == {(True, True)}


async def test_down_and_up_keep_the_data(home: Path) -> None:
    await create_table_and_topic(up(home), "kept")

    await asyncio.to_thread(down, home)
    assert states(home) == {(False, False)}
    env = await asyncio.to_thread(up, home)

    assert await has_table_and_topic(env, "kept")


async def test_a_broker_and_a_database_that_were_killed_come_back_with_their_data(home: Path) -> None:
    await create_table_and_topic(up(home), "survivor")
    for service in ("kafka", "postgres"):
        await strike(home, service, signal.SIGKILL)

    env = await asyncio.to_thread(up, home)

    assert await has_table_and_topic(env, "survivor")


async def test_a_process_left_by_a_killed_database_does_not_count_as_the_database(home: Path) -> None:
    """A server killed right after a fork leaves a process with its command line and its port, until that one runs."""
    port = urlsplit(up(home).database_url).port
    assert port
    mark = Database(Home(home)).mark
    await strike(home, "postgres", signal.SIGKILL)
    left = start_detached([sys.executable, "-c", LISTEN, str(port), f"cluster_name={mark}"], home, home / "left.log")
    await until(lambda: not is_free(port), 20)

    await asyncio.to_thread(up, home)

    assert states(home) == {(True, True)}
    assert pids(home)["postgres"] != left
    assert not is_alive(left)


async def test_a_broker_that_hangs_is_replaced(home: Path) -> None:
    frozen_pid = await strike(home, "kafka", signal.SIGSTOP)

    await asyncio.to_thread(up, home)

    assert states(home) == {(True, True)}
    assert pids(home)["kafka"] != frozen_pid


def test_a_stale_pid_file_that_names_another_process_does_not_prevent_a_start(home: Path) -> None:
    down(home)
    stale = home / "postgres/data/postmaster.pid"
    stale.write_text(f"{os.getpid()}\n{home}\n1\n1\n\n127.0.0.1\n1 1\nready\n")

    up(home)

    assert states(home) == {(True, True)}


def test_ports_stay_the_same_and_a_taken_one_is_replaced(home: Path) -> None:
    before = up(home)
    down(home)
    assert up(home) == before
    down(home)
    with socket.socket() as other_server:
        other_server.bind(("127.0.0.1", int(before.bootstrap_servers.split(":")[1])))
        other_server.listen()

        after = up(home)

    assert after.bootstrap_servers != before.bootstrap_servers
    assert after.database_url == before.database_url
    assert states(home) == {(True, True)}


async def test_a_broker_starts_with_the_aot_cache_of_an_earlier_start(home: Path) -> None:
    installed = java(lambda _: None)
    await until(lambda: installed.has_aot_cache, 60)  # another process may be writing it
    await asyncio.to_thread(down, home)

    await asyncio.to_thread(up, home)

    broker = psutil.Process(pids(home)["kafka"])
    assert str(installed.aot_cache) in {mapped.path for mapped in broker.memory_maps()}


def test_the_home_path_may_contain_commas_blanks_and_non_ascii_letters(tmp_path: Path) -> None:
    """Kafka splits a list of folders at commas: it would write beside the home, or beside the AOT cache."""
    home = tmp_path / "één, 二"
    try:
        up(home)

        assert states(home) == {(True, True)}
        assert [path.name for path in tmp_path.iterdir()] == [home.name]
    finally:
        down(home)


def test_env_prints_exports_of_both_settings_for_eval(home: Path) -> None:
    script = 'eval "$("$1" -m worker stack env)" && printf "%s %s" "$KAFKA_BOOTSTRAP_SERVERS" "$DATABASE_URL"'
    clean = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "SETTLEMENT_HOME": str(home)}

    finished = subprocess.run(
        ["/bin/sh", "-c", script, "sh", sys.executable],
        cwd=PROJECT,
        env=clean,
        capture_output=True,
        text=True,
        check=True,
    )

    env = up(home)
    assert finished.stdout == f"{env.bootstrap_servers} {env.database_url}"


def test_env_prints_one_json_object_for_programs(home: Path) -> None:
    clean = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "SETTLEMENT_HOME": str(home)}

    finished = subprocess.run(
        [sys.executable, "-m", "worker", "stack", "env", "--json"],
        cwd=PROJECT, env=clean, capture_output=True, check=True,
    )  # fmt: skip

    assert json.loads(finished.stdout) == up(home).as_settings()


async def test_two_homes_run_side_by_side_and_stop_independently(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other home"
    try:
        theirs = await asyncio.to_thread(up, other)
        ours = up(home)
        assert {ours.bootstrap_servers, ours.database_url}.isdisjoint({theirs.bootstrap_servers, theirs.database_url})
        await create_table_and_topic(theirs, "theirs")
    finally:
        await asyncio.to_thread(down, other)

    assert states(other) == {(False, False)}
    assert states(home) == {(True, True)}


def test_down_stops_a_stack_whose_folder_was_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "home"
    up(folder)
    running = [psutil.Process(pid) for pid in pids(folder).values() if pid]
    folder.rename(tmp_path / "deleted")

    down(folder)

    assert running
    assert not any(process.is_running() for process in running)


def test_only_the_owner_can_read_the_password_and_enter_the_home(home: Path) -> None:
    assert (home / "postgres/password").stat().st_mode & 0o777 == 0o600
    assert home.stat().st_mode & 0o777 == 0o700


def test_both_servers_listen_on_loopback_only(home: Path) -> None:
    listening = [
        connection.laddr.ip
        for pid in pids(home).values()
        for connection in psutil.Process(pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]

    assert len(listening) == 3
    assert set(listening) <= {"127.0.0.1", "::ffff:127.0.0.1"}
