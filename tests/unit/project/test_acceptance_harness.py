"""A test run without the black-box harness ends with a notice that its cases were not run."""

import os
import subprocess
import sys
from pathlib import Path

NOT_RUN = "The black-box cases were NOT RUN"


def output_lines(project: Path, *command: str) -> list[str]:
    """Runs a command without the harness, successfully, and returns the lines that it prints."""
    ended = subprocess.run(
        command, cwd=project, env=os.environ | {"ACCEPTANCE_DIR": str(project / "nowhere")}, text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout.splitlines()


def test_a_test_run_without_the_harness_ends_with_a_notice(project: Path):
    lines = output_lines(
        project, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/acceptance/test_cases.py"
    )

    assert any(line.startswith(NOT_RUN) for line in lines[-4:])


def test_make_test_without_the_harness_ends_with_a_notice(project: Path):
    last = output_lines(project, "make", "--no-print-directory", "--dry-run", "test")[-1]

    assert last == ".venv/bin/python -m tests.acceptance.harness"
    assert output_lines(project, sys.executable, "-m", "tests.acceptance.harness")[-1].startswith(NOT_RUN)
