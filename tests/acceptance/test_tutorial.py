"""The tutorial and the README's tour, typed as they stand: every block runs, and prints what the page says one sees."""

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
    """Each block of commands, with the lines that are seen after it."""
    found: list[tuple[str, list[str]]] = []
    for kind, content in _BLOCK.findall(page.read_text()):
        if kind == "sh":
            found.append((content, []))
        else:
            found[-1][1].extend(content.splitlines())
    return found


@pytest.mark.timeout(MINUTES * 60 + 60)
@pytest.mark.parametrize("page", ["docs/tutorial.md", "README.md"])
def test_the_commands_of_the_page_print_what_it_shows(project: Path, tmp_path: Path, page: str) -> None:
    told = blocks(project / page)
    script = "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true; settlement stack down' EXIT\n" + "".join(
        f"echo '{_MARK.format(place)}'\n{commands}" for place, (commands, _) in enumerate(told)
    )
    script = script.replace(_PORT, str(_free_port()))  # another run of this test may have the page's own
    own = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
           "SETTLEMENT_HOME": str(tmp_path / "home"), "OPS_PORT": "0"}  # fmt: skip
    # In a container nothing sets USER.
    others = {"KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL", "TOPIC_PREFIX", "CONNECTORS_FILE", "USER"}
    environment = {name: value for name, value in os.environ.items() if name not in others} | own

    with subprocess.Popen(
        ["bash", "-c", script], cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as typing:  # fmt: skip
        try:
            printed, said = typing.communicate(timeout=MINUTES * 60)
        except subprocess.TimeoutExpired:
            os.killpg(typing.pid, signal.SIGTERM)  # what it waits for ends, and the trap stops all the rest
            printed, said = typing.communicate()

    print(printed, said, sep="\n")
    assert typing.returncode == 0, printed[-3000:] + said[-3000:]
    assert told
    for place, (_, seen) in enumerate(told):
        answered = printed.split(_MARK.format(place))[1].split(_MARK.format(place + 1))[0]
        assert [line for line in seen if line not in answered] == []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
