"""`settlement version` prints its own version, also while a server is unreachable."""

import os
import subprocess
import sys


def test_the_version_is_printed_even_if_no_server_answers():
    settings = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "DATABASE_URL": "postgresql://u:p@127.0.0.1:9/d"}

    ended = subprocess.run([sys.executable, "-m", "worker", "version"], env=os.environ | settings, capture_output=True,
                           text=True, timeout=60, check=False)  # fmt: skip

    assert ended.returncode == 1
    assert [line.split()[0] for line in ended.stdout.splitlines()] == ["settlement", "python", "schema"]
    assert "DATABASE_URL" in ended.stderr
