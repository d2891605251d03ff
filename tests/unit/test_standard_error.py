"""A log that cannot be written costs the log, and nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from worker.standard_error import LINES_WAITING_MAX

FULL = Path("/dev/full")
SAYS = """
import logging, os, sys
from worker import telemetry
from worker.settings import load

telemetry.configure(load({}))
telemetry.log.info("lost")
telemetry.alert("test_code")
logging.getLogger("library").warning("lost too")
telemetry.flush()
print([one["code"] for one in telemetry.lasting_alerts()])
os.dup2(sys.stdout.fileno(), sys.stderr.fileno())
telemetry.clear_alert("test_code")
telemetry.flush()
print(telemetry.lasting_alerts())
"""
SAYS_MUCH = """
import sys
from worker import telemetry
from worker.settings import load

telemetry.configure(load({}))
for number in range(int(sys.argv[1])):
    telemetry.log.info("said", number=number)
print([one["code"] for one in telemetry.lasting_alerts()], flush=True)
sys.stdin.readline()
telemetry.flush()
telemetry.log.error("last words")
sys.exit(3)
"""
MORE_THAN_WAITS = 2 * LINES_WAITING_MAX
NOWHERE = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "DATABASE_URL": "postgresql://127.0.0.1:9/none", "OPS_PORT": "0"}


def _says_to(stderr: int) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", SAYS], stdout=subprocess.PIPE, stderr=stderr, text=True, timeout=60, check=False
    )


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_a_full_log_disk_raises_an_alert_until_there_is_room_and_does_not_end_the_program():
    with FULL.open("w") as full:
        said = _says_to(full.fileno())

    assert said.returncode == 0
    assert "'log_lost'" in said.stdout
    assert said.stdout.endswith("[]\n")


def test_a_closed_log_pipe_does_not_end_the_program():
    read, write = os.pipe()
    os.close(read)
    said = _says_to(write)
    os.close(write)

    assert said.returncode == 0
    assert said.stdout.endswith("[]\n")


def _says_much(lines: int, stderr: int) -> "subprocess.Popen[str]":
    """Goes on after its lines when its input ends."""
    command = [sys.executable, "-c", SAYS_MUCH, str(lines)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True)


def test_a_log_pipe_that_is_not_read_blocks_neither_the_work_nor_the_exit():
    read, write = os.pipe()
    with _says_much(MORE_THAN_WAITS, write) as program:
        try:
            said, _ = program.communicate(timeout=60)
        finally:
            program.kill()
            os.close(read)
            os.close(write)

    assert program.returncode == 3
    assert said == "['log_lost']\n"


def test_a_log_that_is_read_again_has_its_lines_in_order_and_the_number_of_lost_lines():
    read, write = os.pipe()
    with _says_much(MORE_THAN_WAITS, write) as program, os.fdopen(read) as log:
        os.close(write)
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdout.readline()
        program.stdin.close()
        lines = [json.loads(line) for line in log]

    numbers = [line["number"] for line in lines if line["event"] == "said"]
    assert numbers == list(range(len(numbers)))
    assert [line["lines_lost"] for line in lines if "lines_lost" in line] == [MORE_THAN_WAITS - len(numbers)]
    assert lines[-1]["event"] == "last words"


def test_a_log_that_is_read_is_complete_to_its_last_line(tmp_path: Path):
    with (tmp_path / "log").open("w") as log, _says_much(LINES_WAITING_MAX // 2, log.fileno()) as program:
        said, _ = program.communicate(timeout=60)

    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert (program.returncode, said) == (3, "[]\n")
    assert [line.get("number") for line in lines] == [*range(LINES_WAITING_MAX // 2), None]
    assert lines[-1]["event"] == "last words"


@pytest.mark.parametrize("closed", ["1>&-", "2>&-"])
def test_a_program_started_without_stdout_or_stderr_ends_with_its_own_exit_code(closed: str):
    """Its event loop had a socket or file of its own under that number, and aborted as it closed it."""
    command = ["/bin/sh", "-c", f'exec "$0" -m worker ops {closed}', sys.executable]
    ended = subprocess.run(command, env=os.environ | NOWHERE, capture_output=True, timeout=60, check=False)

    assert ended.returncode == 1
