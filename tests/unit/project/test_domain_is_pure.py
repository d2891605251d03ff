"""The domain calls no clock, no randomness and no float, not even under names that no import check shows."""

import ast
from pathlib import Path

import pytest

DOMAIN = Path(__file__).parents[3] / "worker/domain"
BANNED_NAMES = {"float", "open", "input", "print", "eval", "exec"}
BANNED_METHODS = {
    "now",
    "utcnow",
    "today",
    "uuid1",
    "uuid4",
    "monotonic",
    "perf_counter",
    "time_ns",
    "urandom",
}


@pytest.mark.parametrize("path", sorted(DOMAIN.rglob("*.py")), ids=lambda path: path.name)
def test_the_domain_uses_no_clock_no_randomness_and_no_float(path: Path) -> None:
    calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]

    banned = [
        f"line {call.lineno}: {ast.unparse(call)}"
        for call in calls
        if (isinstance(call, ast.Name) and call.id in BANNED_NAMES)
        or (isinstance(call, ast.Attribute) and call.attr in BANNED_METHODS)
    ]

    assert not banned
