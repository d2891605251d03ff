"""A log that cannot be written raises an alert and disturbs nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from worker.standard_error import LINES_WAITING_MAX

FULL = Path("/dev/full")
LOGS_A_FEW_LINES = """
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
LOGS_MANY_LINES = """
import sys
from worker import telemetry
from worker.settings import load

telemetry.configure(load({}))
for number in range(int(sys.argv[1])):
    telemetry.log.info("line", number=number)
print([one["code"] for one in telemetry.lasting_alerts()], flush=True)
sys.stdin.readline()
telemetry.flush()
telemetry.log.error("last line")
sys.exit(3)
"""
MORE_THAN_BUFFERED = 2 * LINES_WAITING_MAX
NOWHERE = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "DATABASE_URL": "postgresql://127.0.0.1:9/none", "OPS_PORT": "0"}


def _run_with_log(stderr: int) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", LOGS_A_FEW_LINES],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_a_full_log_disk_raises_an_alert_until_there_is_room_and_does_not_end_the_program():
    with FULL.open("w") as full:
        ended = _run_with_log(full.fileno())

    assert ended.returncode == 0
    assert "'log_lost'" in ended.stdout
    assert ended.stdout.endswith("[]\n")


def test_a_closed_log_pipe_does_not_end_the_program():
    read, write = os.pipe()
    os.close(read)
    ended = _run_with_log(write)
    os.close(write)

    assert ended.returncode == 0
    assert ended.stdout.endswith("[]\n")


def _start_with_log(lines: int, stderr: int) -> "subprocess.Popen[str]":
    """Starts a program that logs its lines, and ends after its input is closed."""
    command = [sys.executable, "-c", LOGS_MANY_LINES, str(lines)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True)


def test_a_log_pipe_that_is_not_read_blocks_neither_the_work_nor_the_exit():
    read, write = os.pipe()
    with _start_with_log(MORE_THAN_BUFFERED, write) as program:
        try:
            output, _ = program.communicate(timeout=60)
        finally:
            program.kill()
            os.close(read)
            os.close(write)

    assert program.returncode == 3
    assert output == "['log_lost']\n"


def test_a_log_that_is_read_again_has_its_lines_in_order_and_the_number_of_lost_lines():
    read, write = os.pipe()
    with _start_with_log(MORE_THAN_BUFFERED, write) as program, os.fdopen(read) as log:
        os.close(write)
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdout.readline()
        program.stdin.close()
        lines = [json.loads(line) for line in log]

    numbers = [line["number"] for line in lines if line["event"] == "line"]
    assert numbers == list(range(len(numbers)))
    assert [line["lines_lost"] for line in lines if "lines_lost" in line] == [MORE_THAN_BUFFERED - len(numbers)]
    assert lines[-1]["event"] == "last line"


def test_a_log_that_is_read_is_complete_to_its_last_line(tmp_path: Path):
    with (tmp_path / "log").open("w") as log, _start_with_log(LINES_WAITING_MAX // 2, log.fileno()) as program:
        output, _ = program.communicate(timeout=60)

    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert (program.returncode, output) == (3, "[]\n")
    assert [line.get("number") for line in lines] == [*range(LINES_WAITING_MAX // 2), None]
    assert lines[-1]["event"] == "last line"


@pytest.mark.parametrize("closed", ["1>&-", "2>&-"])
def test_a_program_started_without_stdout_or_stderr_ends_with_its_own_exit_code(closed: str):
    """Its event loop had opened a socket or file under that number, and aborted as it closed it."""
    command = ["/bin/sh", "-c", f'exec "$0" -m worker ops {closed}', sys.executable]
    ended = subprocess.run(command, env=os.environ | NOWHERE, capture_output=True, timeout=60, check=False)

    assert ended.returncode == 1
