"""What a terminal of another alphabet cannot write is shown escaped; no command ends because of it."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("alphabet", ["ascii", "iso-8859-15"])
@pytest.mark.parametrize(("command", "says"), [
    (("--help",), "the invariants I1"), (("dlq", "list", "--older", "東"), "2h or 7d, not '\\u6771'"),
])  # fmt: skip
def test_a_letter_that_the_terminal_cannot_write_is_shown_escaped(alphabet: str, command: tuple[str, ...], says: str):
    environment = os.environ | {"PYTHONIOENCODING": alphabet, "PYTHONUTF8": "0", "COLUMNS": "400"}

    done = subprocess.run([sys.executable, "-m", "worker", *command], env=environment, capture_output=True,
                          timeout=60, check=False)  # fmt: skip

    told = (done.stdout + done.stderr).decode(alphabet)
    assert says in told
    assert "Traceback" not in told
