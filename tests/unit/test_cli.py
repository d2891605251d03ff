"""Signals during the start of the program."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SIGNALED_WHILE_LOADING = """
import os, signal, sys
from worker.cli import main

class Signals:
    def find_spec(self, name, *_):
        if name == "worker.run":
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)

sys.meta_path.insert(0, Signals())
main(sys.argv[1:])
"""


@pytest.mark.parametrize("worker", ["ledger", "delivery"])
def test_a_signal_does_not_kill_a_worker_that_is_still_loading(worker: str):
    command = [sys.executable, "-c", SIGNALED_WHILE_LOADING, worker]
    ended = subprocess.run(
        command, env={"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9"}, capture_output=True, text=True, check=False, timeout=60
    )

    assert "DATABASE_URL" in ended.stderr
    assert ended.returncode == 2


def test_ctrl_c_while_the_program_loads_shows_no_traceback(tmp_path: Path):
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])

    ended = subprocess.run([sys.executable, "-m", "worker", "version"], env=os.environ | {"PYTHONPATH": path},
                           capture_output=True, text=True, check=False, timeout=60)  # fmt: skip

    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")
