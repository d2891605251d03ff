"""`settlement demo` as a person runs it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from worker.stack import StackEnv


def test_ctrl_c_ends_a_demo_and_every_program_that_it_has_started(stack: StackEnv, tmp_path: Path):
    demo = subprocess.Popen(
        # A shell ignores SIGINT in what it runs in the background, such as these tests: a terminal's Ctrl-C is not.
        ["env", "--default-signal=INT", sys.executable, "-m", "worker", "demo", "--ops", "--orders", "2000"],
        env=os.environ | stack.as_settings() | {"SETTLEMENT_HOME": str(tmp_path), "OPS_PORT": "0"},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    programs: list[psutil.Process] = []
    try:
        assert demo.stdout is not None
        assert demo.stdout.readline().startswith("ops view on http")
        programs = psutil.Process(demo.pid).children(recursive=True)
        assert len(programs) >= 5, "two connectors, two workers, the ops view"

        demo.send_signal(signal.SIGINT)
        said, _ = demo.communicate(timeout=60)
    finally:
        demo.kill()
        left = [program for program in programs if program.is_running()]
        for program in left:
            program.kill()

    assert demo.returncode == 130
    assert "stopping the programs of the demo …\nStopped; no program of the demo is left running.\n" in said
    assert not left
