"""The commands of the tutorial and of the README's tour run, and print what the page shows."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

MINUTES = 5
_BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK = "=== block {} ==="
_PORT = "8600"


def blocks(page: Path) -> list[tuple[str, list[str]]]:
    """Each block of commands with the output lines that the page shows after it."""
    commands_and_output: list[tuple[str, list[str]]] = []
    for kind, content in _BLOCK.findall(page.read_text()):
        if kind == "sh":
            commands_and_output.append((content, []))
        else:
            commands_and_output[-1][1].extend(content.splitlines())
    return commands_and_output


@pytest.mark.timeout(MINUTES * 60 + 60)
@pytest.mark.parametrize("page", ["docs/tutorial.md", "README.md"])
def test_the_commands_of_the_page_print_what_it_shows(project: Path, tmp_path: Path, page: str) -> None:
    shown = blocks(project / page)
    script = "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true; settlement stack down' EXIT\n" + "".join(
        f"echo '{_MARK.format(place)}'\n{commands}" for place, (commands, _) in enumerate(shown)
    )
    script = script.replace(_PORT, str(_free_port()))  # another run of this test may use the page's port
    changed = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
               "SETTLEMENT_HOME": str(tmp_path / "home"), "OPS_PORT": "0"}  # fmt: skip
    # USER is not set in a container.
    others = {"KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL", "TOPIC_PREFIX", "CONNECTORS_FILE", "USER"}
    environment = {name: value for name, value in os.environ.items() if name not in others} | changed

    with subprocess.Popen(
        ["bash", "-c", script], cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as shell:  # fmt: skip
        try:
            printed, errors = shell.communicate(timeout=MINUTES * 60)
        except subprocess.TimeoutExpired:
            os.killpg(shell.pid, signal.SIGTERM)  # ends the running command; the trap stops all others
            printed, errors = shell.communicate()

    print(printed, errors, sep="\n")
    assert shell.returncode == 0, printed[-3000:] + errors[-3000:]
    assert shown
    for place, (_, expected) in enumerate(shown):
        output = printed.split(_MARK.format(place))[1].split(_MARK.format(place + 1))[0]
        assert [line for line in expected if line not in output] == []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
