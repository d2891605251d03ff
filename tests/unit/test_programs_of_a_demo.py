"""A demo starts our programs, whatever the current folder contains."""

from pathlib import Path

import pytest

from worker.sandbox.processes import Processes


def test_a_demo_in_a_folder_with_another_worker_module_starts_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "worker.py").write_text("print('not ours')", "utf-8")
    monkeypatch.chdir(tmp_path)

    output = Processes(tmp_path / "logs", {}).must_run("--help")

    assert "not ours" not in output
    assert "Partial settlement" in output
