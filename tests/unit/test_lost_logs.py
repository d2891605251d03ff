"""A log that cannot be written costs the log, and nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FULL = Path("/dev/full")
SAYS = """
import logging, os, sys
from worker import telemetry
from worker.settings import load

telemetry.configure(load({}))
telemetry.log.info("lost")
telemetry.alert("test_code")
logging.getLogger("library").warning("lost too")
print([one["code"] for one in telemetry.lasting_alerts()])
os.dup2(sys.stdout.fileno(), sys.stderr.fileno())
telemetry.clear_alert("test_code")
print(telemetry.lasting_alerts())
"""
NOWHERE = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "DATABASE_URL": "postgresql://127.0.0.1:9/none", "OPS_PORT": "0"}


def _says_to(stderr: int) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", SAYS], stdout=subprocess.PIPE, stderr=stderr, text=True, timeout=60, check=False
    )


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_a_full_disk_under_the_log_ends_no_program_and_is_an_alert_until_there_is_room_again():
    with FULL.open("w") as full:
        said = _says_to(full.fileno())

    assert said.returncode == 0
    assert "'log_lost'" in said.stdout
    assert said.stdout.endswith("[]\n")


def test_nobody_who_reads_the_log_any_more_is_no_reason_to_end():
    read, write = os.pipe()
    os.close(read)
    said = _says_to(write)
    os.close(write)

    assert said.returncode == 0
    assert said.stdout.endswith("[]\n")


@pytest.mark.parametrize("closed", ["1>&-", "2>&-"])
def test_a_program_that_is_started_without_an_output_ends_as_it_means_to(closed: str):
    """Its event loop had a socket or file of its own under that number, and aborted as it closed it."""
    command = ["/bin/sh", "-c", f'exec "$0" -m worker ops {closed}', sys.executable]
    ended = subprocess.run(command, env=os.environ | NOWHERE, capture_output=True, timeout=60, check=False)

    assert ended.returncode == 1
