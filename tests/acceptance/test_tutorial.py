"""The tutorial, typed as it stands: every block runs, and prints what the page says that one sees."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

MINUTES = 5
_BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK = "=== block {} ==="


def blocks(page: Path) -> list[tuple[str, list[str]]]:
    """Each block of commands, with the lines that are seen after it."""
    found: list[tuple[str, list[str]]] = []
    for kind, content in _BLOCK.findall(page.read_text()):
        if kind == "sh":
            found.append((content, []))
        else:
            found[-1][1].extend(content.splitlines())
    return found


@pytest.mark.timeout(MINUTES * 60 + 30)
def test_whoever_follows_the_tutorial_sees_what_it_says(project: Path, tmp_path: Path) -> None:
    told = blocks(project / "docs" / "tutorial.md")
    script = "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true; settlement stack down' EXIT\n" + "".join(
        f"echo '{_MARK.format(place)}'\n{commands}" for place, (commands, _) in enumerate(told)
    )
    own = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "USER": "ana",
           "SETTLEMENT_HOME": str(tmp_path / "home")}  # fmt: skip
    others = {"KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL", "TOPIC_PREFIX", "CONNECTORS_FILE", "OPS_PORT"}
    environment = {name: value for name, value in os.environ.items() if name not in others} | own

    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=MINUTES * 60, check=False,
    )  # fmt: skip

    print(done.stdout, done.stderr, sep="\n")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for place, (_, seen) in enumerate(told):
        printed = done.stdout.split(_MARK.format(place))[1].split(_MARK.format(place + 1))[0]
        assert [line for line in seen if line not in printed] == []
