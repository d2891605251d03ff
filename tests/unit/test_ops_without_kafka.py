"""The view stands on Kafka: without it the program ends, and its last line says which setting names what is away."""

import json
import os
import subprocess
import sys


def test_without_kafka_the_last_line_of_the_log_names_the_setting():
    settings = {
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "DATABASE_URL": "postgresql://u:p@127.0.0.1:9/d", "OPS_PORT": "0",
        "LOG_FORMAT": "json",
    }  # fmt: skip

    ended = subprocess.run([sys.executable, "-m", "worker", "ops"], env=os.environ | settings, capture_output=True,
                           text=True, timeout=60, check=False)  # fmt: skip

    assert ended.returncode == 1
    last = json.loads(ended.stderr.splitlines()[-1])
    assert last["event"] == "Kafka does not answer: is it running, and is KAFKA_BOOTSTRAP_SERVERS right?"
