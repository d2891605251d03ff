"""The programs that a demo starts are ours, wherever it is typed."""

from pathlib import Path

import pytest

from worker.sandbox.processes import Processes


def test_a_demo_typed_beside_somebody_elses_worker_starts_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "worker.py").write_text("print('not ours')", "utf-8")
    monkeypatch.chdir(tmp_path)

    said = Processes(tmp_path / "logs", {}).must_run("--help")

    assert "not ours" not in said
    assert "Partial settlement" in said
