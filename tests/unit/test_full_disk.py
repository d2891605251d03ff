"""An output that takes nothing more is no matter of the database."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
@pytest.mark.parametrize("command", [("--help",), ("version",), ("version", "--json")], ids=" ".join)
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["at the end", "at once"])
def test_a_file_that_is_full_is_named_as_what_it_is(command: tuple[str, ...], unbuffered: str, tmp_path: Path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("KAFKA_", "DATABASE_"))}
    environment["SETTLEMENT_HOME"] = str(tmp_path)  # where nothing runs, and nobody is asked
    environment["PYTHONUNBUFFERED"] = unbuffered

    with FULL.open("w") as full:
        ended = subprocess.run([sys.executable, "-m", "worker", *command], env=environment, stdout=full,
                               stderr=subprocess.PIPE, text=True, timeout=60, check=False)  # fmt: skip

    assert ended.returncode == 1
    assert ended.stderr == "settlement: the output cannot be written (No space left on device)\n"
