"""Commands print on any terminal, and report an output that cannot be written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FULL = Path("/dev/full")
# The help, on an unbuffered stream that takes a few bytes of each write.
WRITTEN_IN_PARTS = """
import os, sys
from io import RawIOBase, TextIOWrapper
from worker.cli import main

class SlowPipe(RawIOBase):
    def writable(self):
        return True

    def write(self, text):
        return os.write(1, text[:7])

sys.stdout = TextIOWrapper(SlowPipe(), write_through=True)
main(["--help"])
"""


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
@pytest.mark.parametrize("command", [("--help",), ("version",), ("version", "--json")], ids=" ".join)
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["at the end", "at once"])
def test_a_full_disk_is_reported_as_an_output_error(command: tuple[str, ...], unbuffered: str, tmp_path: Path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("KAFKA_", "DATABASE_"))}
    environment["SETTLEMENT_HOME"] = str(tmp_path)  # a stack that does not run, so that no server is asked
    environment["PYTHONUNBUFFERED"] = unbuffered

    with FULL.open("w") as full:
        ended = subprocess.run([sys.executable, "-m", "worker", *command], env=environment, stdout=full,
                               stderr=subprocess.PIPE, text=True, timeout=60, check=False)  # fmt: skip

    assert ended.returncode == 1
    assert ended.stderr == "settlement: the output cannot be written (No space left on device)\n"


@pytest.mark.parametrize("encoding", ["ascii", "iso-8859-15"])
@pytest.mark.parametrize(("command", "expected"), [
    (("--help",), "the invariants I1"), (("dlq", "list", "--older", "東"), "2h or 7d, not '\\u6771'"),
])  # fmt: skip
def test_a_character_that_the_terminal_cannot_encode_is_escaped(encoding: str, command: tuple[str, ...], expected: str):
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "COLUMNS": "400"}

    ended = subprocess.run([sys.executable, "-m", "worker", *command], env=environment, capture_output=True,
                           timeout=60, check=False)  # fmt: skip

    output = (ended.stdout + ended.stderr).decode(encoding)
    assert expected in output
    assert "Traceback" not in output


def test_output_is_complete_though_the_system_writes_it_in_parts():
    """`commands list --json` into a slow program was cut after 64 KiB, and ended with 0."""
    command = [sys.executable, "-c", WRITTEN_IN_PARTS]

    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)

    assert "Bring the database schema up to date." in ended.stdout
