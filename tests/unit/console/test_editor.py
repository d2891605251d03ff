"""A message edited by hand is sent as it was saved, or refused with a sentence."""

import os
import shlex
import subprocess
import sys

import pytest

from worker.console.editor import in_editor
from worker.people.acting import Refused


def test_a_message_saved_in_another_encoding_is_refused(monkeypatch: pytest.MonkeyPatch):
    writes = "import sys; open(sys.argv[1], 'wb').write(b'\\xff\\xfe')"
    monkeypatch.setenv("VISUAL", shlex.join([sys.executable, "-c", writes]))

    with pytest.raises(Refused, match="not in UTF-8"):
        in_editor("{}")


def test_a_non_ascii_message_can_be_edited_on_an_ascii_terminal():
    appends = shlex.join([sys.executable, "-c", "import sys; open(sys.argv[1], 'ab').write(b' ')"])
    edits = r'from worker.console.editor import in_editor; print(ascii(in_editor("\u00e9\u6771")))'
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "VISUAL": appends}

    ended = subprocess.run([sys.executable, "-c", edits], env=os.environ | ascii_only, capture_output=True, text=True,
                          timeout=60, check=False)  # fmt: skip

    assert (ended.stdout, ended.stderr) == ("'\\xe9\\u6771 '\n", "")
