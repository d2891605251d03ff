"""The whole program seen from outside: a black-box harness beside the project plays its cases against it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.harness import HARNESS, PROJECT, missing

OURS = Path(__file__).parent / "cases"
RULES = Path(__file__).parent / "rules"
MINUTES = 6

pytestmark = [
    pytest.mark.timeout(MINUTES * 60 + 30),
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]

CONDITIONS = {
    "every case holds": [],
    "every case holds when every message comes twice, in any order, placed by another partitioner": [
        "--twice", "--shuffle", "7", "--partitioner", "crc32",
    ],
    "every case holds with two workers of each kind, killed again and again, and messages without a key": [
        "--workers", "2", "--kill", "both", "--partitioner", "nokey", "--envelope", "structured",
    ],
}  # fmt: skip


@pytest.mark.parametrize("options", CONDITIONS.values(), ids=CONDITIONS.keys())
def test_every_black_box_case_passes(options: list[str]) -> None:
    # Of a refused automatic settlement that comes twice, the harness takes the repeat for a capture (R8: it is not).
    ours = [] if "--twice" in options else [OURS]
    play([HARNESS / "cases", *ours], *options)


def test_every_case_about_the_wording_of_the_rules_passes() -> None:
    """A case for each "also", "only" and "unless" of the rules.

    Their connectors have long timeouts, so that a busy machine is not taken for a lost reply.
    """
    play([RULES])


def play(folders: list[Path], *options: str) -> None:
    command = [sys.executable, str(HARNESS / "run.py"), "--project", str(PROJECT)]
    command += ["--settlement", str(Path(sys.executable).parent / "settlement"), *options, "--json"]
    command += ["--cases", *map(str, folders)]
    environment = {name: value for name, value in os.environ.items() if name not in _OF_A_STACK}

    done = subprocess.run(command, env=environment, text=True, capture_output=True, timeout=MINUTES * 60, check=False)

    print(done.stdout, done.stderr, sep="\n")
    assert done.stdout.startswith("{"), done.stdout[-4000:] + done.stderr[-2000:]
    assert wrong(json.loads(done.stdout)["cases"]) == {}, done.stderr[-2000:]


def wrong(cases: list[dict[str, Any]]) -> dict[str, list[str]]:
    """What differs, by its case.

    Of a message that moves nothing and is the last of all the harness never learns the place, and takes it for one that
    was not consumed.
    """
    found = {one["name"]: [text for text in one["differences"] if not _NO_PLACE.fullmatch(text)] for one in cases}
    return {name: differences for name, differences in found.items() if differences}


_NO_PLACE = re.compile(r"not committed: \S+\[-1\] at -1")
_OF_A_STACK = {"KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL", "TOPIC_PREFIX", "CONNECTORS_FILE", "SETTLEMENT_HOME"}
