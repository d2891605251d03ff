"""A green run that played no case says so, where whoever ran it looks last."""

import os
import subprocess
import sys
from pathlib import Path

NOT_RUN = "The black-box cases were NOT RUN"


def said(project: Path, *command: str) -> list[str]:
    """Every line that a command without a harness prints; it ends well."""
    done = subprocess.run(
        command, cwd=project, env=os.environ | {"ACCEPTANCE_DIR": str(project / "nowhere")}, text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_a_test_run_without_the_harness_ends_with_a_notice(project: Path):
    lines = said(project, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/acceptance/test_cases.py")

    assert any(line.startswith(NOT_RUN) for line in lines[-4:])


def test_make_test_without_the_harness_ends_with_a_notice(project: Path):
    last = said(project, "make", "--no-print-directory", "--dry-run", "test")[-1]

    assert last == ".venv/bin/python -m tests.acceptance.harness"
    assert said(project, sys.executable, "-m", "tests.acceptance.harness")[-1].startswith(NOT_RUN)
